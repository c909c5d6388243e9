"""A module whose import fails, as a user's does when a package is missing from the image."""

import a_package_nobody_has  # type: ignore[import-not-found]  # noqa: F401  # it has to be missing
