"""Include the workflow, from the top of the repository, in the wheel; pyproject.toml cannot express this."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WORKFLOW = ("Snakefile", "workflow", "profiles", "config.yaml")
"""Files and folders that `spikelens run` and `spikelens init` need (`spikelens.launch`)."""


class BuildWithWorkflow(build_py):
    """Copies the workflow into the package. An editable install uses the checkout instead."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, "spikelens", "_workflow")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in WORKFLOW:
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy
            copy(name, folder / name)


setup(cmdclass={"build_py": BuildWithWorkflow})
