"""tqdm's own bar, as subclasses of TQDMProgressBar make them; the package is needed for this file alone."""

from __future__ import annotations

from tqdm.auto import tqdm


class Tqdm(tqdm):  # type: ignore[misc]  # it chooses its base by where it runs
    """A bar whose counts have the same width all along, so that it does not jump."""

    @staticmethod
    def format_num(n: str | float) -> str:
        """Numbers of up to five places, as they are."""
        if isinstance(n, str):
            return n
        text = str(n) if isinstance(n, int) else f"{n:.3f}"
        return text if len(text) >= _WIDTH or isinstance(n, int) else text.ljust(_WIDTH, "0")


_WIDTH = 5
