"""``facerestore weights``: what it prints, asks and refuses."""

import json
import subprocess
import sys

import pytest
import torch
from loopback import BUNDLED, CONTENT, catalog_text, server, sha256
from typer.testing import CliRunner

from facerestore.cli import weights as cli_weights
from facerestore.cli.terminal import _bar
from facerestore.cli.weights import weights_app
from facerestore.errors import CheckpointError, WeightsError
from facerestore.weights import DownloadProgress, WeightsStore, parse_catalog
from facerestore.weights.checkpoint import load_state_dict, save_state_dict
from facerestore.weights.weights_file import look_at

__all__ = ["server"]


@pytest.fixture
def use(monkeypatch, tmp_path, server):
    """Give the commands a small catalog that the loopback server can serve."""

    def use(*, extra="", commercial="no"):
        text = catalog_text([f"{server.url}/net.safetensors"], extra, commercial=commercial)
        catalog = parse_catalog(text, folder=tmp_path)
        store = WeightsStore(catalog=catalog)
        monkeypatch.setattr(cli_weights, "_store", lambda *, offline=False: store)
        return store

    return use


def run(*arguments, answer=None):
    """Run a command; errors propagate as they do to the main program."""
    return CliRunner().invoke(weights_app, arguments, input=answer, catch_exceptions=False)


def on_a_terminal(monkeypatch):
    monkeypatch.setattr(cli_weights, "_can_ask", lambda: True)


def test_list_shows_every_name_and_its_terms():
    out = run("list").stdout
    row = next(line for line in out.splitlines() if "gpen.bfr-512 " in line)
    assert row.split() == ["gpen.bfr-512", "restore", "not", "installed", "?", "LicenseRef-GPEN", "no"]
    row = next(line for line in out.splitlines() if "yunet.2023mar" in line)
    assert row.split() == ["yunet.2023mar", "detect", "not", "installed", "0.2", "MB", "MIT", "yes"]


def test_download_keeps_off_the_network_when_told(monkeypatch, tmp_path):
    monkeypatch.setenv("FACERESTORE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="facerestore is offline"):
        run("download", "gpen.bfr-512", "--offline", "--accept-license")


def test_list_filters():
    rows = json.loads(run("list", "--license", "permissive", "--json").stdout)
    assert {row["commercial_use"] for row in rows} == {"yes"}
    assert "yunet.2023mar" in {row["name"] for row in rows}
    rows = json.loads(run("list", "--purpose", "parse", "--json").stdout)
    assert {row["purpose"] for row in rows} == {"parse"}
    result = run("list", "--purpose", "dream")
    assert result.exit_code == 2
    assert "background" in result.stderr


def test_list_and_verify_tell_installed_from_bundled(use, tmp_path):
    store = use(extra=BUNDLED, commercial="yes")
    assert {row["state"] for row in json.loads(run("list", "--json").stdout)} == {"not installed", "missing"}
    (tmp_path / "lite_example_64.safetensors").write_bytes(CONTENT)
    store.download("net.small")
    rows = json.loads(run("list", "--installed", "--json").stdout)
    assert {row["name"]: row["state"] for row in rows} == {
        "net.small": "installed",
        "lite.example-64": "bundled",
    }
    assert {row["name"]: row["ok"] for row in json.loads(run("verify", "--json").stdout)} == {
        "net.small": True,
        "lite.example-64": True,
    }


def test_info_says_where_from_and_on_what_terms():
    out = run("info", "psfr.ffhq-512").stdout
    for fact in (
        "CC-BY-NC-SA-4.0",
        "FFHQ",
        "arXiv:2009.08709",
        "releases/download/v0.1.0",
        "parsenet.psfr-90000",
    ):
        assert fact in out
    facts = json.loads(run("info", "retinaface.resnet50", "--json").stdout)
    assert facts["size_bytes"] == 109497761
    assert facts["sha256"].startswith("6d1de9c2")
    assert "publisher states none" in facts["sha256_source"]


def test_info_of_a_file_says_what_its_header_states_and_whose_it_is(tmp_path):
    bundled = WeightsStore().require("lite.detail-512")
    shown = dict(line.split(maxsplit=1) for line in run("info", str(bundled)).stdout.splitlines())
    assert shown["name"] == "lite.detail-512"
    own = tmp_path / "mine.safetensors"
    header = {**look_at(bundled).metadata, "licence": "ISC", "data": "drawn faces", "step": "30"}
    save_state_dict(own, {"fine.0.weight": torch.zeros(2)}, metadata=header)
    facts = json.loads(run("info", str(own), "--json").stdout)
    assert facts.pop("sha256") == sha256(own.read_bytes())
    assert facts == {
        "name": None,
        "purpose": "restore",
        "backend": "lite",
        "face_size": 512,
        "detail_of": "lite.large-512",
        "refines": "lite.detail-256",
        "licence": "ISC",
        "commercial_use": "yes",
        "training_data": "drawn faces",
        "source": "facerestore train lite, 30 steps",
        "path": str(own),
        "size_bytes": own.stat().st_size,
    }
    own.write_bytes(own.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="is damaged: its header speaks of"):
        run("info", str(own))
    with pytest.raises(WeightsError, match="does not exist"):
        run("info", str(tmp_path / "absent.pth"))


def test_info_of_a_file_without_a_word_says_whose_network_it_is(tmp_path):
    path = tmp_path / "plain.pth"
    torch.save(load_state_dict(WeightsStore().require("lite.colour-128")), path)
    shown = dict(line.split(maxsplit=1) for line in run("info", str(path)).stdout.splitlines())
    assert shown["backend"] == "lite"
    assert "licence" not in shown


def test_a_backend_without_published_weights_says_so(use):
    use(extra='bundled = false\n\n[unpublished]\nbare = "no weights of bare are published: train some"')
    assert "no weights of bare are published: train some" in run("info", "bare").stdout
    assert set(json.loads(run("info", "bare", "--json").stdout)) == {"backend", "notes"}
    for arguments in (("download", "bare"), ("path", "bare.big"), ("import", "bare", "net.safetensors")):
        with pytest.raises(WeightsError, match="no weights of bare are published: train some"):
            run(*arguments)


def test_the_name_of_a_backend_alone_leads_to_its_weights():
    with pytest.raises(WeightsError, match=r"no weights are called 'mmrb'; did you mean 'mmrb\.clean-128'"):
        run("info", "mmrb")


def test_info_shows_the_pinned_hash(use, server):
    use(commercial="yes").download("net.small")
    out = run("info", "net.small").stdout
    assert sha256(CONTENT) in out
    assert f"from {server.url}" in out


def test_unknown_names_are_errors_with_close_matches():
    with pytest.raises(WeightsError, match=r"gpen\.bfr-512"):
        run("info", "gpen.bfr_512")


def test_a_download_in_a_pipe_wants_the_flag_then_prints_the_path(use):
    store = use()
    with pytest.raises(WeightsError, match="--accept-license"):
        run("download", "net.small")
    result = run("download", "net.small", "--accept-license")
    assert result.stdout.strip() == str(store.path_of("net.small"))
    assert f"100% of {len(CONTENT) / 1e6:.1f} MB" in result.stderr
    assert (
        f"nothing proves that this copy is the publisher's. Its sha256 {sha256(CONTENT)} is pinned"
        in result.stderr
    )
    again = run("download", "net.small", "--force")
    assert "pinned" not in again.stderr
    assert run("download", "net.small", "--quiet").stderr == ""


def test_a_terminal_asks_once(use, monkeypatch):
    store = use()
    on_a_terminal(monkeypatch)
    with pytest.raises(WeightsError, match="not accepted"):
        run("download", "net.small", answer="n\n")
    assert store.locate("net.small") is None
    result = run("download", "net.small", answer="y\n")
    assert "NOT allowed" in result.stderr
    assert "Do you accept" in result.stderr
    assert store.locate("net.small")
    assert "accept" not in run("download", "net.small", "--force").stderr


def test_nobody_is_asked_about_what_cannot_be_fetched(use, monkeypatch):
    store = use()
    on_a_terminal(monkeypatch)
    store.offline = True
    with pytest.raises(WeightsError, match="offline"):
        run("download", "net.small")


def test_permissive_refuses_other_terms_before_any_download(use, server):
    use()
    with pytest.raises(WeightsError, match="--license permissive refuses"):
        run("download", "net.small", "--license", "permissive", "--accept-license")
    assert server.seen == []


def test_a_known_hash_is_said(use):
    use(extra=f'sha256 = "{sha256(CONTENT)}"', commercial="yes")
    assert "sha256 as in the catalog" in run("download", "net.small").stderr


def test_verify_reports_all_and_fails_on_corrupt_ones(use):
    store = use(commercial="yes")
    assert "no weights are here" in run("verify").stderr
    store.download("net.small")
    assert run("verify").stdout.startswith("net.small: ok (first copy)")
    store.path_of("net.small").write_bytes(CONTENT[:-1] + b"\xff")
    with pytest.raises(WeightsError, match=r"download net\.small --force"):
        run("verify")


def test_path_import_and_remove(use, tmp_path):
    store = use()
    assert run("path").stdout.strip() == str(store.folder)
    with pytest.raises(WeightsError, match=r"weights download net\.small"):
        run("path", "net.small")
    source = tmp_path / "mine.bin"
    source.write_bytes(CONTENT)
    result = run("import", "net.small", str(source))
    assert "NOT allowed" in result.stderr
    assert "pinned now" in result.stderr
    assert run("path", "net.small").stdout == result.stdout
    assert run("remove", "net.small", "--forget-pin").stdout.startswith("removed ")
    assert store.locate("net.small") is None
    assert store.pin("net.small") is None


@pytest.mark.parametrize("command", ["list", "info", "download", "verify", "path", "import", "remove"])
def test_every_command_explains_itself(command):
    assert f"facerestore weights {command}" in " ".join(run(command, "--help").output.split())


def test_the_progress_bar_follows_a_download(capsys):
    with _bar() as report:
        report(DownloadProgress("net.small", "waiting", "", 0, None, 0))
        report(DownloadProgress("net.small", "downloading", "http://x", 5, 10, 0))
    err = capsys.readouterr().err
    assert "net.small" in err
    assert "5/10" in err


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, facerestore.cli.weights; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "torch", "cv2", "rich.table", "urllib.request"}.isdisjoint(done.stdout.split())
