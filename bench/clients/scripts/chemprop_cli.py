"""chemprop, by its command line."""

import csv
import subprocess
import sys
from pathlib import Path

CARBONS = (
    ["C" * n for n in range(1, 16)] + ["C" * n + "O" for n in range(1, 16)] + ["N" + "C" * n for n in range(1, 11)]
)
Path("molecules.csv").write_text("smiles,y\n" + "".join(f"{smiles},{len(smiles) / 10}\n" for smiles in CARBONS))


def chemprop(*arguments):
    subprocess.run([Path(sys.executable).parent / "chemprop", *arguments], check=True)


trained = [
    "--epochs",
    "3",
    "--message-hidden-dim",
    "16",
    "--ffn-hidden-dim",
    "8",
    "--accelerator",
    "cpu",
    "--pytorch-seed",
    "1",
]
chemprop("train", "--data-path", "molecules.csv", "--output-dir", "out", "--data-seed", "1", *trained)
for path in sorted(Path("out").rglob("test_predictions.csv")):
    print("RESULT", "test", [row["y"] for row in csv.DictReader(path.open())])
chemprop(
    "predict",
    "--test-path",
    "molecules.csv",
    "--model-paths",
    "out/model_0/best.pt",
    "--preds-path",
    "preds.csv",
    "--accelerator",
    "cpu",
)
print("RESULT", "preds", Path("preds.csv").read_text().splitlines()[1:11])
model = ["--test-path", "molecules.csv", "--model-paths", "out/model_0/best.pt"]
chemprop("fingerprint", *model, "--output", "fps.csv", "--ffn-block-index", "0", "--accelerator", "cpu")
print("RESULT", "fingerprint", next(iter(Path(".").glob("fps*.csv"))).read_text().splitlines()[1])
