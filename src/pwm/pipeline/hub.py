"""Pushes runs and episode stores to the Hugging Face Hub with a card, and pulls them.

A run is a repository of type "model", an episode store one of type "dataset". In both directions only files with names
that pwm itself writes are transferred, none of which is a pickle.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pwm.data.manifest import MANIFEST, read_manifest
from pwm.data.store import open_store
from pwm.runtime.config import versions
from pwm.runtime.errors import PWMError
from pwm.runtime.files import PathLike, read_json, read_tensors, to_json
from pwm.runtime.run_folder import read_run_file
from pwm.runtime.version import __version__
from pwm.world_model.files import load_world_model, world_model_path

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Kind:
    """A kind of folder: its repository type, the file that identifies it, and the files that belong to it."""

    noun: str
    repo_type: str
    marker: str
    files: re.Pattern[str]
    """What the names of its files match, with '/' between folders."""


RUN = Kind(
    "a run",
    "model",
    "run.json",
    re.compile(
        rf"README\.md|(run|results|clock)\.json|metrics\.jsonl|world_model/(weights|tdmpc2_heads)\.safetensors"
        rf"|policies/{_NAME}/seed\d+\.safetensors|films/{_NAME}\.webp"
    ),
)
STORE = Kind(
    "an episode store",
    "dataset",
    MANIFEST,
    re.compile(rf"README\.md|manifest\.json|{_NAME}/(observations|actions|rewards|terminations|offsets|quality)\.npy"),
)
_KINDS = (RUN, STORE)


def connect() -> Any:
    """The Hub's client. Raises PWMError if huggingface_hub is not installed."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise PWMError("the Hub needs the package huggingface_hub: pip install 'pwm[hub]'") from error
    return HfApi(library_name="pwm", library_version=__version__)


def push_folder(api: Any, folder: PathLike, repo: str, private: bool = True) -> tuple[str, list[str]]:
    """Upload a run or a store in one commit; returns the repository's URL and the names of the files.

    Raises:
        PWMError: the folder is neither or is damaged, the name is not USER/NAME, or the Hub reports an error.
    """
    folder = Path(folder)
    kind = next((kind for kind in _KINDS if (folder / kind.marker).is_file()), None)
    if kind is None:
        raise PWMError(f"{folder}: neither a run ({RUN.marker}) nor an episode store ({STORE.marker}); check the path")
    _check(kind, folder)
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    content: dict[str, Path | bytes] = {name: path for name, path in paths.items() if kind.files.fullmatch(name)}
    if kind is RUN:
        content["run.json"] = to_json(without_places(read_run_file(folder)), indent=2).encode()
    content.setdefault("README.md", card(kind, folder, repo).encode())
    with _hub_errors(repo):
        from huggingface_hub import CommitOperationAdd

        place = api.create_repo(repo, repo_type=kind.repo_type, private=private, exist_ok=True)
        operations = [CommitOperationAdd(name, item) for name, item in sorted(content.items())]
        message = f"Push by pwm {__version__}"
        api.create_commit(place.repo_id, operations, commit_message=message, repo_type=kind.repo_type)
    return str(place), sorted(content)


def pull_folder(api: Any, repo: str, out: PathLike, revision: str | None = None) -> Kind:
    """Download a run or a store to the new folder `out`, which appears once everything is downloaded and checked.

    Raises:
        PWMError: `out` exists, the repository is missing or holds neither, the network fails, or a file is damaged.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PWMError(f"{out}: exists already; choose a new folder with --out")
    # Next to `out`, so that the last step is a rename; kept after a failure, so that the next pull can resume.
    part = out.with_name(f".{out.name}.pull")
    with _hub_errors(repo):
        kind, commit, names = _find(api, repo, revision)
        part.mkdir(parents=True, exist_ok=True)
        api.snapshot_download(
            repo, repo_type=kind.repo_type, revision=commit, local_dir=part, allow_patterns=names, max_workers=4
        )
    shutil.rmtree(part / ".cache", ignore_errors=True)
    found = {path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_symlink() or path.is_file()}
    if found != set(names) or any((part / name).is_symlink() for name in found):
        shutil.rmtree(part)
        raise PWMError(f"{repo}: other files came than the repository lists; pull again")
    try:
        _check(kind, part)
    except PWMError as error:
        shutil.rmtree(part)
        raise PWMError(f"{repo}: {str(error).removeprefix(f'{part}: ')}; nothing was kept") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, out)
    return kind


def _find(api: Any, repo: str, revision: str | None) -> tuple[Kind, str, list[str]]:
    """The kind of a repository, the commit, and the names of its files that belong to it."""
    from huggingface_hub.errors import RepositoryNotFoundError

    for kind in _KINDS:
        try:
            commit = api.repo_info(repo, repo_type=kind.repo_type, revision=revision).sha
        except RepositoryNotFoundError:
            continue
        there = api.list_repo_files(repo, repo_type=kind.repo_type, revision=commit)
        names = sorted(filter(kind.files.fullmatch, there))
        if kind.marker in names:
            return kind, commit, names
        raise PWMError(f"{repo}: has no {kind.marker}; it is no {kind.noun.split(' ', 1)[1]} that pwm pushed")
    raise PWMError(f"{repo}: no such repository, or it is not yours to see; check the name, or log in")


def _check(kind: Kind, folder: Path) -> None:
    """Raise PWMError if a file is damaged."""
    if kind is STORE:
        open_store(folder, verify=True)
        return
    read_run_file(folder)
    if world_model_path(folder).exists():
        load_world_model(folder)
    for path in sorted(folder.glob("policies/*/seed*.safetensors")):
        read_tensors(path)


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turn errors of the Hub and the network into PWMError, without anything that looks like a token."""
    from huggingface_hub import errors

    transport = (*errors.HfHubHTTPError.__bases__, OSError)  # those of the underlying HTTP package
    try:
        yield
    except errors.HFValidationError as error:
        raise PWMError(f"{repo}: no name of a repository; use USER/NAME") from error
    except (errors.LocalTokenNotFoundError, errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise PWMError(
            f"{repo}: not found or not yours; log in with `hf auth login`, or check the name ({_line(error)})"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PWMError(f"{repo}: no such revision; leave --revision out for the newest") from error
    except transport as error:
        cure = "check network, login and free space, then try again"
        raise PWMError(f"{repo}: the transfer failed ({_line(error)}); {cure}") from error


def _line(error: Exception) -> str:
    return re.sub(r"hf_\w+|Bearer\s+\S+", "***", " ".join(str(error).split()))[:160] or type(error).__name__


def without_places(record: Any) -> Any:
    """A run's description with absolute paths replaced by their last part."""
    if isinstance(record, dict):
        return {name: without_places(value) for name, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [without_places(value) for value in record]
    if isinstance(record, str):
        return re.sub(r"(?<![\w./~-])(?:~|[A-Za-z]:\\)?/(?:[^/'\"\s]+/)*", "", record)
    return record


def card(kind: Kind, folder: Path, repo: str) -> str:
    """The README of a repository: content, usage, provenance, and a placeholder for the licence."""
    facts, name = _run_facts(folder) if kind is RUN else _store_facts(folder), repo.rpartition("/")[2]
    used = [f"{package} {version}" for package, version in versions().items() if version != "not installed"]
    return f"""---
license: unknown
tags: [reinforcement-learning, world-model, pwm]
---

# {name}

This is {kind.noun} of PWM, multi-task world models and the policies learned in them.

{chr(10).join(facts)}

```bash
pip install 'pwm[hub]'
pwm hub pull {repo} --out {name}
```

Pushed by pwm {__version__} ({", ".join(used)}).

Licence: not stated yet. Whoever pushed this: name one here and in the first lines.
"""


def _run_facts(folder: Path) -> list[str]:
    lines = ["| part | content |", "|---|---|"]
    if world_model_path(folder).exists():
        model = load_world_model(folder)
        config, size = model.config, sum(p.numel() for p in model.parameters())
        lines.append(
            f"| world model | {size:,} parameters, latent {config.latent_dim}, "
            f"encoder {list(config.encoder_units)}, units {list(config.units)} |"
        )
        lines.append(f"| its tasks | {', '.join(model.tasks)} |")
        origin = read_run_file(folder).get("config", {}).get("import")
        if isinstance(origin, dict):
            lines.append(f"| imported from | {origin.get('file')}, SHA-256 {origin.get('sha256')} |")
    policies = sorted(path.parent.name for path in folder.glob("policies/*/seed*.safetensors"))
    if policies:
        counts = ", ".join(f"{task} ({policies.count(task)})" for task in dict.fromkeys(policies))
        lines.append(f"| policies per task | {counts} |")
    if (folder / "results.json").exists():
        results = read_json(folder / "results.json")
        tasks = results.get("tasks") if isinstance(results, dict) else None
        tasks = tasks if isinstance(tasks, dict) else {}
        means = {name: entry.get("policy_mean") for name, entry in tasks.items() if isinstance(entry, dict)}
        told = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items() if isinstance(mean, (int, float)))
        lines += [f"| mean return or success | {told} |"] if told else []
    return lines


def _store_facts(folder: Path) -> list[str]:
    names = ("id", "episodes", "transitions", "observation_dim", "action_dim")
    entries = read_manifest(folder).tasks
    rows = ["| " + " | ".join(str(getattr(entry, name)) for name in names) + " |" for entry in entries]
    return ["| task | episodes | transitions | observation | action |", "|---|---|---|---|---|", *rows]
