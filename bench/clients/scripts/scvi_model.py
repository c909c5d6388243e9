"""scvi-tools, after its quick start, on the synthetic data that it ships."""

import scvi
from scvi.train import SaveCheckpoint

scvi.settings.seed = 1
adata = scvi.data.synthetic_iid(batch_size=64)
scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
model = scvi.model.SCVI(adata, n_latent=4)
model.train(
    3, accelerator="cpu", check_val_every_n_epoch=1, early_stopping=True, batch_size=64, enable_progress_bar=False
)
print("RESULT", "elbo", model.history["elbo_validation"].to_numpy().ravel().tolist())
print("RESULT", "latent", model.get_latent_representation()[0].tolist())
model.save("saved", overwrite=True)
print("RESULT", "loaded", scvi.model.SCVI.load("saved", adata).get_latent_representation()[0].tolist())
again = scvi.model.SCVI(adata, n_latent=4)
saves = SaveCheckpoint(dirpath="checkpoints", monitor="elbo_validation", load_best_on_end=True)
again.train(
    3,
    accelerator="cpu",
    check_val_every_n_epoch=1,
    callbacks=[saves],
    enable_checkpointing=True,
    batch_size=64,
    enable_progress_bar=False,
)
print("RESULT", "best", saves.best_model_score.item(), again.get_latent_representation()[0].tolist())
