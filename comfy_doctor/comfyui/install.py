"""One ComfyUI install on this disk: its root, its version, and every directory that it searches for a model folder.

The directories and their order are those of ComfyUI's `folder_paths.py` (FACTS 3.3): the folder itself, its older
twin, what nodes save under `output/`, and extra_model_paths.yaml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from comfy_doctor.comfyui.extra_paths import FILE_NAME, ExtraRoot, read_extra_paths
from comfy_doctor.comfyui.plain_files import read_start
from comfy_doctor.troubles import DoctorCode, DoctorTrouble
from download_worker.jobs.places import FOLDERS

MAX_VERSION_BYTES = 64 * 1024
_STATED_VERSION = re.compile(r"""^__version__\s*=\s*["']([^"'\n]{1,40})["']""", re.MULTILINE)
# Folders that ComfyUI looks for under two names below models/, in this order.
_TWINS = MappingProxyType(
    {
        "text_encoders": ("text_encoders", "clip"),
        "diffusion_models": ("unet", "diffusion_models"),
        "controlnet": ("controlnet", "t2i_adapter"),
    }
)
# Folders that core nodes save into, and where ComfyUI therefore searches too.
_SAVED = MappingProxyType(
    {
        "checkpoints": "checkpoints",
        "loras": "loras",
        "vae": "vae",
        "text_encoders": "clip",
        "diffusion_models": "diffusion_models",
    }
)


@dataclass(frozen=True, slots=True)
class Install:
    """`root` holds `models/`: ComfyUI's own folder, or its `--base-directory`. `output` is set where it was moved."""

    root: Path
    version: str | None = None
    extra: tuple[ExtraRoot, ...] = ()
    output: Path | None = None

    @property
    def models_root(self) -> Path:
        return self.root / "models"

    @property
    def output_root(self) -> Path:
        """Where nodes save, and where ComfyUI therefore looks for saved models, too (`--output-directory`)."""
        return self.output or self.root / "output"

    @property
    def workflows(self) -> Path:
        """Where the frontend saves the workflows of the default user."""
        return self.root / "user" / "default" / "workflows"

    @property
    def node_roots(self) -> tuple[Path, ...]:
        return (self.root / "custom_nodes", *(root.path for root in self.extra if root.folder == "custom_nodes"))

    def roots(self, folder: str) -> tuple[Path, ...]:
        """Every directory that ComfyUI searches for this model folder, first come first served."""
        own = [self.models_root / name for name in _TWINS.get(folder, (FOLDERS.get(folder, folder),))]
        if folder in _SAVED:
            own.append(self.output_root / _SAVED[folder])
        extra = [root for root in self.extra if root.folder == folder]
        ordered = [r.path for r in extra if r.first] + own + [r.path for r in extra if not r.first]
        return tuple(dict.fromkeys(ordered))

    @property
    def all_roots(self) -> tuple[Path, ...]:
        """Every directory with models below it, whatever their folder."""
        saved = (self.output_root / name for name in _SAVED.values())
        extra = (root.path for root in self.extra if root.folder != "custom_nodes")
        return tuple(dict.fromkeys((self.models_root, *saved, *extra)))


def find_install(
    option: Path | None, candidates: Sequence[Path] | None = None, *, extra_paths: Sequence[Path] = ()
) -> Install:
    """The install that is named, else the only one in the usual places.

    Raises:
        DoctorTrouble: `no_comfyui`, `several_comfyui`, or `bad_extra_paths`.
    """
    if option is not None:
        if not is_install(option):
            raise DoctorTrouble(DoctorCode.NO_COMFYUI, f"{option} is no ComfyUI install: it has no folder models/")
        return read_install(option, extra_paths)
    places = usual_places() if candidates is None else candidates
    found = {place.resolve(): place for place in reversed(places) if is_install(place, by_chance=True)}
    if not found:
        raise DoctorTrouble(DoctorCode.NO_COMFYUI, "no ComfyUI install in the usual places")
    if len(found) > 1:
        names = ", ".join(sorted(str(place) for place in found.values()))
        raise DoctorTrouble(DoctorCode.SEVERAL_COMFYUI, f"several ComfyUI installs: {names}")
    return read_install(next(iter(found.values())), extra_paths)


def usual_places() -> tuple[Path, ...]:
    """Where installs are found without being named: here, above here, and where people and installers put them."""
    here, home = Path.cwd(), Path.home()
    near = (here, here / "ComfyUI", *here.parents[:4])
    far = (home / "ComfyUI", home / "comfy" / "ComfyUI", home / "Documents" / "ComfyUI", home / "comfyui")
    return (*near, *far)


def is_install(place: Path, *, by_chance: bool = False) -> bool:
    """A folder with `models/`; one that nobody named must also look like ComfyUI's own code or data."""
    try:
        if not (place / "models").is_dir():
            return False
        if not by_chance:
            return True
        code = (place / "main.py").is_file() and any((place / name).exists() for name in ("folder_paths.py", "comfy"))
        desktop = (place / "custom_nodes").is_dir() and (place / "user").is_dir()
    except OSError:
        return False
    return code or desktop


def read_install(root: Path, extra_paths: Sequence[Path] = ()) -> Install:
    """Raises DoctorTrouble(bad_extra_paths)."""
    root = root.expanduser().absolute()
    own = root / FILE_NAME
    files = ([own] if own.is_file() else []) + [path.expanduser() for path in extra_paths]
    return Install(root, _version(root), tuple(extra for file in files for extra in read_extra_paths(file)))


def _version(root: Path) -> str | None:
    """ComfyUI writes its version into a module of its own and into pyproject.toml; very old ones into neither."""
    stated = _STATED_VERSION.search(_head(root / "comfyui_version.py"))
    if stated is not None:
        return stated.group(1)
    try:
        project = tomllib.loads(_head(root / "pyproject.toml")).get("project", {})
    except tomllib.TOMLDecodeError:
        return None
    version = project.get("version") if isinstance(project, dict) else None
    return version if isinstance(version, str) else None


def _head(path: Path) -> str:
    try:
        return read_start(path, MAX_VERSION_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
