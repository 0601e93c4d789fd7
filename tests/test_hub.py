"""Models on the Hugging Face hub: names, downloads and uploads, against a stand-in for its client."""

import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import errors

from strf_cuda import hub
from strf_cuda.errors import InputError
from strf_cuda.hub import HubModel


def test_names_have_an_owner_and_perhaps_a_revision():
    assert hub.parse("hf://anna/strf-mars") == HubModel("anna/strf-mars")
    assert hub.parse("hf://anna/strf.v2@refs/pr/1") == HubModel("anna/strf.v2", "refs/pr/1")
    for wrong in ("anna/strf", "hf://strf", "hf://a/b/c", "hf://../b", "hf://anna/strf@", "hf://an na/strf"):
        with pytest.raises(InputError, match="names no model: it must be hf://owner/name or hf://owner/name@revision"):
            hub.parse(wrong)


def test_a_mistyped_path_does_not_look_like_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    looks = ["anna/strf-mars", "runs/mras", "anna/best.ckpt", "./anna", "/anna/strf", "anna", "a/b/c"]
    assert [name for name in looks if hub.looks_like_model(name)] == ["anna/strf-mars"]


class FakeHub:
    """Stands for the package huggingface_hub; `answer` is a folder or what is raised."""

    errors = errors

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def _act(self, name, *words, **options):
        self.calls.append((name, words, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def snapshot_download(self, *words, **options):
        return self._act("snapshot_download", *words, **options)

    def HfApi(self):
        return SimpleNamespace(
            create_repo=lambda *words, **options: self._act("create_repo", *words, **options),
            upload_folder=lambda *words, **options: self._act("upload_folder", *words, **options),
        )


@pytest.fixture
def fake(monkeypatch):
    def fake(answer):
        made = FakeHub(answer)
        monkeypatch.setitem(sys.modules, "huggingface_hub", made)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
        return made

    return fake


def of_http(kind):
    """An error of the client's, made without the answer of a server that its own way of making one needs."""
    error = kind.__new__(kind)
    error.args = ("401 Client Error",)
    return error


def test_only_the_files_asked_for_are_downloaded(fake, tmp_path):
    client = fake(str(tmp_path))
    assert hub.download(HubModel("anna/strf", "v1"), ["config.json"]) == tmp_path
    assert client.calls == [
        ("snapshot_download", ("anna/strf",), {"revision": "v1", "allow_patterns": ["config.json"]})
    ]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            of_http(errors.RepositoryNotFoundError),
            "there is no model anna/strf on the Hugging Face hub, or it is private",
        ),
        (of_http(errors.GatedRepoError), "anna/strf on the Hugging Face hub is open to those only whom its owner has"),
        (
            errors.LocalEntryNotFoundError("offline"),
            "anna/strf is not in the cache of huggingface_hub, and the hub cannot",
        ),
        (OSError("no route\nto host"), "cannot download anna/strf from the Hugging Face hub: no route"),
        (RuntimeError(), "cannot download anna/strf from the Hugging Face hub: RuntimeError"),
    ],
)
def test_what_went_wrong_is_one_sentence(fake, error, sentence):
    fake(error)
    with pytest.raises(InputError) as caught:
        hub.download(HubModel("anna/strf"), ["config.json"])
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_a_revision_that_is_not_there_is_named(fake):
    fake(of_http(errors.RevisionNotFoundError))
    with pytest.raises(InputError, match=r"^anna/strf on the Hugging Face hub has no revision v9$"):
        hub.download(HubModel("anna/strf", "v9"), ["config.json"])


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r'need huggingface_hub: pip install "strf_cuda\[hub\]", or give a folder'):
        hub.download(HubModel("anna/strf"), ["config.json"])


def test_an_upload_names_its_files_and_is_private_unless_asked(fake, tmp_path):
    client = fake("https://huggingface.co/anna/strf")
    assert hub.upload(tmp_path, "anna/strf", ["README.md"], private=True) == "https://huggingface.co/anna/strf"
    assert client.calls == [
        ("create_repo", ("anna/strf",), {"private": True, "exist_ok": True}),
        ("upload_folder", (), {"repo_id": "anna/strf", "folder_path": tmp_path, "allow_patterns": ["README.md"]}),
    ]
    fake(of_http(errors.HfHubHTTPError))
    with pytest.raises(
        InputError, match=r"cannot upload .* to anna/strf: 401 Client Error; the folder itself is complete"
    ):
        hub.upload(tmp_path, "anna/strf", ["README.md"], private=True)
    with pytest.raises(
        InputError, match="push_to_hub is strf, but a model on the Hugging Face hub is named owner/name"
    ):
        hub.upload(tmp_path, "strf", ["README.md"], private=True)


def test_the_real_client_is_called_as_it_wants(monkeypatch, tmp_path):
    """Offline and with an empty cache, the client itself says that there is nothing, without a network."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match="anna/strf is not in the cache of huggingface_hub, and the hub cannot be reached"
    ):
        hub.download(HubModel("anna/strf"), ["config.json"])
