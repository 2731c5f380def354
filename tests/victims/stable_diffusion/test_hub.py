"""Hub ids without a network: pinned commits, the local cache, and the files to fetch."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from bench.interfaces import RequestError
from tests.support.paths import ROOT
from victims.diffusion.parts.base import ModelParams
from victims.diffusion.split_controlnet import SplitControlNet
from victims.stable_diffusion import hub
from victims.stable_diffusion.files import fingerprint, locate

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return folder


@pytest.fixture
def no_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that does not answer; what it was asked for."""
    asked: list[str] = []

    def refuse(self: object, repo: str, **_: object) -> None:
        asked.append(repo)
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    return asked


def test_known_ids_get_their_commit_and_the_row_has_it() -> None:
    assert hub.with_commit(SD15) == f"{SD15}@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    assert SplitControlNet.build({"model": SD15}).params.model == hub.with_commit(SD15)
    assert ModelParams(model=f"{SD15}@{COMMIT}").model == f"{SD15}@{COMMIT}"
    assert ModelParams(model="a/b").model == "a/b"


def test_the_documentation_has_every_built_in_commit() -> None:
    text = (ROOT / "docs" / "stable-diffusion.md").read_text()
    for name, commit in hub.PINNED.items():
        assert f"| `{name}` | `{commit}` |" in text


def test_a_directory_goes_before_a_hub_id_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / SD15).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.with_commit(SD15) == SD15


@pytest.mark.parametrize("model", ["owner/name", "owner/name@main", "owner/name@0123abc"])
def test_an_unknown_id_needs_its_full_commit(model: str, no_hub: list[str]) -> None:
    with pytest.raises(RequestError, match="needs the full commit, owner/name@ and 40 hex digits"):
        locate(model)
    assert no_hub == []


@pytest.mark.parametrize("model", ["no/such/dir", "./a/b", "/none", "none", "~/a/b", "../a/b"])
def test_what_is_no_id_never_asks_the_hub(model: str, no_hub: list[str]) -> None:
    with pytest.raises(RequestError, match="no such directory"):
        locate(model)
    assert no_hub == []


def test_a_misspelt_directory_is_not_taken_for_an_id(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_hub: list[str]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RequestError, match="model 'models/tinny': no such directory; models has tiny"
    ):
        locate("models/tinny")
    assert no_hub == []


def test_an_unreachable_hub_ends_in_one_sentence_with_the_command(no_hub: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        locate(SD15)
    text = str(caught.value)
    assert "the hub cannot be reached or refuses it, ConnectionError" in text
    assert (
        f"hf download {SD15} --revision 451f4fe16113bff5a5d2269ed5ad43b0592e9a14 --include" in text
    )
    assert "\n" not in text
    assert no_hub == [SD15], "asked once, not again and again"


def test_a_hub_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: release.wait(60))
    monkeypatch.setattr(hub, "_PROBE_SECONDS", 0.05)
    with pytest.raises(RequestError, match=r"does not answer within 0\.05 s"):
        locate(SD15)
    release.set()


def test_offline_by_wish_makes_no_request(
    no_hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError, match="HF_HUB_OFFLINE is set"):
        locate(SD15)
    assert no_hub == []


def test_a_complete_snapshot_in_the_cache_needs_no_hub(
    cache: Path, no_hub: list[str], tiny_model: Path
) -> None:
    snapshot = cache / "models--owner--name" / "snapshots" / COMMIT
    shutil.copytree(tiny_model, snapshot)
    assert locate(f"owner/name@{COMMIT}") == snapshot
    assert fingerprint(snapshot) == fingerprint(tiny_model)
    assert no_hub == []
    shutil.rmtree(snapshot / "unet")
    with pytest.raises(RequestError, match="not complete in the local cache"):
        locate(f"owner/name@{COMMIT}")
    assert no_hub == ["owner/name"]


def test_a_download_fetches_the_needed_files_of_the_commit(
    cache: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, object]] = []

    def download(
        repo: str, *, revision: str, local_files_only: bool = False, allow_patterns: object = None
    ) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("empty")
        asked.append((repo, revision, allow_patterns))
        return str(tiny_model)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    info = SimpleNamespace(
        siblings=[SimpleNamespace(rfilename="unet/diffusion_pytorch_model.safetensors")]
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    assert locate(f"owner/name@{COMMIT}") == tiny_model
    assert asked == [("owner/name", COMMIT, list(hub.NEEDED))]


def test_the_needed_files_of_the_repository_of_sd15() -> None:
    both = ("bin", "safetensors")
    listing = [
        "README.md",
        "model_index.json",
        "v1-5-pruned.safetensors",
        "v1-5-pruned-emaonly.ckpt",
    ]
    listing += ["safety_checker/model.safetensors", "safety_checker/pytorch_model.bin"]
    listing += [
        f"unet/diffusion_pytorch_model{kind}.{end}"
        for kind in ("", ".fp16", ".non_ema")
        for end in both
    ]
    listing += [
        f"vae/diffusion_pytorch_model{kind}.{end}" for kind in ("", ".fp16") for end in both
    ]
    listing += [
        "text_encoder/model.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/config.json",
    ]
    listing += ["tokenizer/merges.txt", "tokenizer/vocab.json", "scheduler/scheduler_config.json"]
    assert set(filter_repo_objects(listing, allow_patterns=list(hub.NEEDED))) == {
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    }


def test_of_a_repository_in_half_precision_only_that_is_fetched() -> None:
    listing = [
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
        "unet/config.json",
    ]
    unet = [f"unet/diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    other = [
        "vae/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    text = [
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.fp16.bin",
        "text_encoder_2/model.safetensors",
    ]
    words = ["tokenizer/merges.txt", "tokenizer_2/merges.txt", "README.txt", "x.fp16.safetensors"]
    fetched = set(
        filter_repo_objects(
            [*listing, *unet, *other, *text, *words],
            allow_patterns=hub.download_patterns([*unet, *other, *text]),
        )
    )
    assert fetched == {*listing, *unet, other[0], text[0], text[2], *words[:2]}
    assert hub.download_patterns(other) == list(hub.NEEDED)
