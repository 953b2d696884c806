"""A fit of the same settings is kept, one of others refused, and no run mixes the numbers of two stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.synthetic import HEADER, episode, write_store
from workbench.config import Run, build, compose
from workbench.errors import ConfigError, OtherSettingsError
from workbench.store import StoreWriter

WORDS = ("name=k", "score=[mahalanobis,stac]", "calibrator=[split_conformal]", "monitor.level=0.2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    for name in ("toy", "other"):
        write_store(folder / "datasets" / f"{name}.zarr", counts={"fit": 8, "calibrate": 8, "test": 4})
    done(folder, "fit")
    return folder


def done(root: Path, job: str, *words: str) -> None:
    run = Run(compose([f"job={job}", "store=toy", *WORDS, *words]), root)
    build({**run.config["job"], "_partial_": True})(run)


def monitors(root: Path) -> dict[str, tuple[bytes, int]]:
    folder = root / "runs/k/monitors"
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_same_fit_is_kept(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = monitors(root)
    done(root, "fit", "runner.workers=2", "rollout.samples=3")
    assert "up to date: runs/k/monitors" in capsys.readouterr().out
    assert monitors(root) == before


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("monitor.level=0.1", "monitor.level"),
        ("score=[mahalanobis]", "score.stac"),
        ("calibrator=[functional_band]", "calibrator.split_conformal and calibrator.functional_band"),
        ("seed=1", "seed"),
    ],
)
def test_another_fit_is_refused_unless_it_is_to_replace_it(root: Path, said: str, named: str) -> None:
    before = monitors(root)
    with pytest.raises(OtherSettingsError, match=rf"runs/k/monitors was made with another {named}; overwrite=true"):
        done(root, "fit", said)
    assert monitors(root) == before


def test_other_episodes_are_refused_and_replaced_when_asked(root: Path) -> None:
    with StoreWriter.open(root / "datasets/toy.zarr", HEADER) as writer:
        writer.append(episode("fit", 100))
    before = monitors(root)
    with pytest.raises(OtherSettingsError, match="was made with another episodes; overwrite=true"):
        done(root, "fit")
    assert monitors(root) == before
    done(root, "fit", "overwrite=true")
    after = monitors(root)
    assert after.keys() != before.keys()
    assert len(after) == 2


@pytest.mark.parametrize("job", ["fit", "benchmark", "label", "export", "view", "report"])
def test_a_run_does_not_mix_the_numbers_of_two_stores(root: Path, job: str) -> None:
    before = (root / "runs/k/metrics.json").read_bytes()
    with pytest.raises(ConfigError, match=r"runs/k holds the numbers of datasets/toy\.zarr; choose another name"):
        done(root, job, "store=other")
    assert (root / "runs/k/metrics.json").read_bytes() == before
