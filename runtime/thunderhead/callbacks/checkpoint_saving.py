"""How ModelCheckpoint writes and removes its files, by methods that subclasses override.

::

    _should_skip_saving_checkpoint     at each moment
    _monitor_candidates                where something is due; then rank 0 plans and tells the others
    _save_topk_checkpoint
        _save_monitor_checkpoint       with a metric
            _update_best_and_save      where it is among the best
        _save_none_monitor_checkpoint  without one
    _save_last_checkpoint
    _save_checkpoint                   each file
    _should_remove_checkpoint, _remove_checkpoint

Their names and arguments are Lightning's, and they are called on every rank. What each does by itself is its part of
the plan; called outside of one, as a subclass may, it makes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import proxy

import torch
from torch import Tensor

from thunderhead.callbacks.checkpoint_names import CheckpointNames
from thunderhead.callbacks.checkpoint_plan import Best, Plan, planned
from thunderhead.callbacks.checkpoint_policy import Decision
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.files.places import is_url, lies_in, same
from thunderhead.files.schemes import place_of
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_WORST: Final = {"min": torch.inf, "max": -torch.inf}


class CheckpointSaving(CheckpointNames):
    """The part of ModelCheckpoint that carries out."""

    monitor: str | None
    mode: str
    verbose: bool
    save_last: bool | str | None
    save_top_k: int
    save_weights_only: bool
    best_model_path: str
    best_model_score: Tensor | None
    kth_best_model_path: str
    kth_value: Tensor
    last_model_path: str
    current_score: Tensor | None
    _last_global_step_saved: int
    _changed_since: bool
    _last_checkpoint_saved: str
    _kept_step: int
    _planned: Plan | None = None
    _writes: Callable[[str], None] | None = None

    def _carry_out(self, trainer: Trainer, plan: Plan, candidates: dict[str, Tensor]) -> None:
        """On every rank."""
        self._planned = plan
        try:
            if self.save_top_k != 0:
                self._save_topk_checkpoint(trainer, candidates)
            if plan.last is not None:
                self._save_last_checkpoint(trainer, candidates)
        finally:
            self._planned = None

    # --- the best ------------------------------------------------------------------------------------------------

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """A checkpoint is due: write it, if it is among the best."""
        missing = self._planned.missing if self._planned is not None else ""
        if self.save_top_k == 0:
            return
        if self._planned is None and self.monitor is not None and self.monitor not in monitor_candidates:
            missing = self._missing(monitor_candidates)
        if missing and trainer.has_validated:
            raise MisconfigurationException(missing)
        if missing:
            warn(missing)
        elif self.monitor is None:
            self._save_none_monitor_checkpoint(trainer, monitor_candidates)
        else:
            self._save_monitor_checkpoint(trainer, monitor_candidates)

    def _save_monitor_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """The same, by a metric."""
        best = self._best(trainer, monitor_candidates)
        if best is not None and best.score is not None:
            self._update_best_and_save(best.score, trainer, monitor_candidates)

    def _save_none_monitor_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """The same, without one: the newest is the best."""
        best = self._best(trainer, monitor_candidates)
        if best is not None:
            self.best_model_path = best.path
            self._replace(trainer, best)

    def _update_best_and_save(self, current: Tensor, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """``current`` is among the best: rank it, write its file, and remove the one that falls out."""
        best = self._planned.best if self._planned is not None else None
        if best is None or best.score is None or best.score is not current:
            # A subclass ranks another value than the one that was planned.
            best = planned(trainer, lambda: Plan(Decision.SAVE, self._ranked(current, monitor_candidates))).best
        assert best is not None
        assert best.score is not None
        self._rank(best.path, best.score, best.remove)
        self._replace(trainer, best)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether a metric of this value is among the ``save_top_k`` best; asked on rank 0."""
        if current is None:
            return False
        if not self._is_full():
            return True
        kept = self.best_k_models[self.kth_best_model_path]
        return bool(current < kept) if self.mode == "min" else bool(current > kept)

    def _best(self, trainer: Trainer, candidates: dict[str, Tensor]) -> Best | None:
        if self._planned is not None:
            return self._planned.best
        return planned(trainer, lambda: Plan(Decision.SAVE, self._plan_best(trainer, candidates))).best

    def _plan_best(self, trainer: Trainer, candidates: dict[str, Tensor]) -> Best | None:
        """None when it is not among the best."""
        if self.monitor is None:
            # The newest alone is kept under its own name; all of them need names of their own.
            previous = self.best_model_path if self.save_top_k == 1 else ""
            return Best(self._free_path(candidates, allowed=previous), None, previous)
        score = candidates.get(self.monitor)
        if score is not None and self.check_monitor_top_k(trainer, score):
            return self._ranked(score, candidates)
        if self.verbose and score is not None:
            say(f"step {trainer.global_step}: {self.monitor}={score:.5f} is not in the top {self.save_top_k}")
        return None

    def _is_full(self) -> bool:
        return self.save_top_k != -1 and len(self.best_k_models) >= self.save_top_k

    def _ranked(self, score: Tensor, candidates: dict[str, Tensor]) -> Best:
        if torch.isnan(score):
            score = torch.tensor(_WORST[self.mode])
        remove = self.kth_best_model_path if self._is_full() else ""
        return Best(self._free_path(candidates, allowed=remove), score, remove)

    def _rank(self, path: str, score: Tensor, remove: str) -> None:
        self.best_k_models.pop(remove, None)
        self.current_score = score
        self.best_k_models[path] = score
        best, worst = (min, max) if self.mode == "min" else (max, min)
        if self.save_top_k == -1 or len(self.best_k_models) == self.save_top_k:
            self.kth_best_model_path = worst(self.best_k_models, key=self._score)
            self.kth_value = self.best_k_models[self.kth_best_model_path]
        self.best_model_path = best(self.best_k_models, key=self._score)
        self.best_model_score = self.best_k_models[self.best_model_path]
        if self.verbose:
            say(f"{self.monitor}={score:.5f} (best {self.best_model_score:.5f}), saving {path}")

    def _score(self, path: str) -> float:
        return self.best_k_models[path].item()

    # --- the last ------------------------------------------------------------------------------------------------

    def _save_last_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        """The last is due: write it, or a link to the newest."""
        if not self.save_last:
            return
        path = self._planned.last if self._planned is not None else None
        if path is None:
            plan = planned(trainer, lambda: Plan(Decision.SAVE, last=self._last_path(monitor_candidates)))
            path = plan.last
        assert path is not None
        self._save_last_at(trainer, path)

    def _save_last_at(self, trainer: Trainer, path: str) -> None:
        previous, self.last_model_path = self.last_model_path, path
        # A link names the newest state, so only what was kept of this very step.
        if self._links(path) and self._kept_step == trainer.global_step:
            with self._directory(trainer).naming():
                trainer.strategy.link_checkpoint(self._last_checkpoint_saved, path)
        else:
            newest, kept = self._last_checkpoint_saved, self._kept_step
            self._save_checkpoint(trainer, path)
            self._last_checkpoint_saved, self._kept_step = newest or path, kept
        if previous and self._should_remove_checkpoint(trainer, previous, path):
            self._remove_checkpoint(trainer, previous)

    def _last_path(self, candidates: dict[str, Tensor], *, taken: str = "") -> str:
        name = self.CHECKPOINT_NAME_LAST
        return self._free_path(candidates, allowed=self.last_model_path, name=name, taken=taken)

    def _links(self, path: str) -> bool:
        return self.save_last == "link" and self.save_top_k != 0 and not is_url(path)

    # --- each file -----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Write one file, and tell the loggers."""
        with self._directory(trainer).naming():
            if self._writes is not None:
                self._writes(filepath)
            else:
                trainer.save_checkpoint(filepath, self.save_weights_only)
        self._last_global_step_saved, self._changed_since = trainer.global_step, False
        self._last_checkpoint_saved, self._kept_step = filepath, trainer.global_step
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(proxy(self))

    @contextmanager
    def _written_by(self, write: Callable[[str], None]) -> Iterator[None]:
        """Files are written by ``write`` meanwhile."""
        self._writes = write
        try:
            yield
        finally:
            self._writes = None

    def _replace(self, trainer: Trainer, best: Best) -> None:
        self._save_checkpoint(trainer, best.path)
        if best.remove and self._should_remove_checkpoint(trainer, best.remove, best.path):
            self._remove_checkpoint(trainer, best.remove)

    def _should_remove_checkpoint(self, trainer: Trainer, previous: str, current: str) -> bool:
        """Never the file just written, the one this run resumed from, nor one outside our directory."""
        if previous == current:
            return False
        if trainer.ckpt_path is not None and same(previous, trainer.ckpt_path):
            return False
        assert self.dirpath is not None
        return lies_in(previous, self.dirpath)

    def _remove_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        """Delete one file; rank 0 does."""
        if trainer.is_global_zero:
            trainer.strategy.remove_checkpoint(filepath)

    def file_exists(self, filepath: str, trainer: Trainer) -> bool:
        """Whether rank 0 sees a file there; a collective."""
        found: bool = trainer.strategy.tell(trainer.is_global_zero and place_of(filepath).exists(filepath))
        return found

    def _get_metric_interpolated_filepath_name(
        self, monitor_candidates: dict[str, Tensor], trainer: Trainer, del_filepath: str | None = None
    ) -> str:
        """A path at which nothing lies; ``del_filepath`` may be overwritten. For subclasses that name files."""
        path: str = trainer.strategy.tell(self._free_path(monitor_candidates, allowed=del_filepath or ""))
        return path

    def _missing(self, candidates: Mapping[str, Tensor]) -> str:
        return (
            f"ModelCheckpoint(monitor={self.monitor!r}) finds no such "
            f"metric.{did_you_mean(str(self.monitor), candidates)} "
            f"There are {sorted(candidates)}; log it with self.log"
        )
