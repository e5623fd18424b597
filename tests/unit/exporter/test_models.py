"""What botocore knows of AWS's services is what it would have read itself."""

import gzip
import json
from pathlib import Path

import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.session import Session

from export_runner.sinks import models

pytestmark = pytest.mark.unit

MODEL = {"version": "2.0", "metadata": {"apiVersion": "2020-01-01"}, "operations": {}, "shapes": {}}


@pytest.fixture
def ours() -> Session:
    session = Session()
    models.use(session)
    return session


@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1", "paginators-1"])
@pytest.mark.parametrize("service", ["s3", "sts"])
def test_models_are_those_that_botocore_reads(ours: Session, service: str, kind: str) -> None:
    read = [each.get_component("data_loader").load_service_model(service, kind) for each in (ours, Session())]
    assert read[0] == read[1]


@pytest.mark.parametrize("name", ["endpoints", "partitions", "_retry", "sdk-default-configuration"])
def test_what_is_no_model_is_what_botocore_reads(ours: Session, name: str) -> None:
    assert ours.get_data(name) == Session().get_data(name)


def test_members_keep_their_order(ours: Session) -> None:
    read = [each.get_component("data_loader").load_service_model("s3", "service-2") for each in (ours, Session())]
    assert json.dumps(read[0]) == json.dumps(read[1])


def test_a_service_that_nobody_knows_is_refused_by_its_name(ours: Session) -> None:
    with pytest.raises(UnknownServiceError, match="'s33'"):
        ours.get_service_model("s33")


def test_a_file_that_is_not_there_is_named(ours: Session) -> None:
    with pytest.raises(DataNotFoundError, match="no-such-file"):
        ours.get_data("no-such-file")


def test_models_of_a_directory_of_ones_own_are_found_packed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service, opened in (("plain", open), ("packed", gzip.open)):
        ending = ".json" if opened is open else ".json.gz"
        (directory := tmp_path / service / "2020-01-01").mkdir(parents=True)
        with opened(directory / f"service-2{ending}", "wt") as file:
            json.dump(MODEL, file)
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    session = Session()
    models.use(session)
    read = [session.get_component("data_loader").load_service_model(name, "service-2") for name in ("plain", "packed")]
    assert read == [MODEL, MODEL]
