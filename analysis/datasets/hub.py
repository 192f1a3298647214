"""A dataset of the Hugging Face hub: its Parquet files, which are data only; no code of it is fetched or run."""

from pathlib import Path
from typing import cast

from knscope.store.errors import UserError

REVISIONS = ("refs/convert/parquet", "main")
"""Where Parquet files lie: in the hub's own conversion, or as the authors put them."""
MAX_BYTES = 1 << 30


def fetch(spec: str) -> list[Path]:
    """The Parquet files of `owner/name`, `owner/name/config` or `owner/name/config/split`, in order of name, in the local cache.

    Raises UserError when there are none, when several configurations are there and none is named, when they are larger
    than MAX_BYTES, and when the hub cannot be reached.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    owner, _, rest = spec.strip("/").partition("/")
    name, _, part = rest.partition("/")
    if not owner or not name:
        raise UserError(f"hf:{spec}: write hf:owner/name, or hf:owner/name/config/split")
    repository = f"{owner}/{name}"
    # What its HTTP library raises, which need not be an OSError; and ValueError for a name that none can have.
    failures = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, OSError, ValueError))
    try:
        for revision in REVISIONS:
            try:
                tree = HfApi().list_repo_tree(repository, recursive=True, revision=revision, repo_type="dataset")
                sizes = {file.path: getattr(file, "size", 0) or 0 for file in tree if file.path.endswith(".parquet")}
            except RevisionNotFoundError:
                continue
            if sizes:
                chosen = _choose(spec, sizes, part)
                return [
                    Path(hf_hub_download(repository, file, revision=revision, repo_type="dataset")) for file in chosen
                ]
    except RepositoryNotFoundError as error:
        raise UserError(
            f"hf:{spec}: the hub has no dataset {repository} that can be read without (other) credentials"
        ) from error
    except failures as error:
        raise UserError(
            f"hf:{spec} cannot be fetched ({type(error).__name__}); download its Parquet file on a machine with a network and "
            "name that file"
        ) from error
    raise UserError(f"hf:{spec}: {repository} has no Parquet files on the hub; download its own files and name them")


def _choose(spec: str, sizes: dict[str, int], part: str) -> list[str]:
    """The files in the folder `part`, or all of the only folder."""
    chosen = sorted(file for file in sizes if not part or file == part or file.startswith(f"{part}/"))
    configs = sorted({file.partition("/")[0] for file in sizes})
    if not chosen or (not part and len(configs) > 1):
        raise UserError(
            f"hf:{spec}: name one of its parts, as in hf:owner/name/{configs[0]}; it has {', '.join(configs)}"
        )
    if (size := sum(sizes[file] for file in chosen)) > MAX_BYTES:
        raise UserError(
            f"hf:{spec} has {size / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:g} GiB that are fetched; name a part of it, "
            "as in hf:owner/name/config/split"
        )
    return chosen
