"""A study on a server is the same study as on disk; a bad server gives one clear error and no hang."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import pickle
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from osler.errors import OslerError, PatientMixError, RequestError, ServerError, UnsupportedError
from osler.readers import open_study
from osler.readers.dicomweb import list_studies
from osler.readers.patient import open_patient
from osler.study import Study
from tests.cli.running import invoke
from tests.readers import make_fhir, odd_server
from tests.readers.make_dicom import SERIES_UID, STUDY_UID, base_dataset, ramp, save, write_enhanced, write_series
from tests.readers.make_fhir import observation
from tests.readers.odd_server import OddServer, reply, reply_file
from tests.readers.orthanc import Orthanc, needs_orthanc, running
from tests.shared_data import SHARED_DATA, needs_shared_data

pytest.importorskip("dicomweb_client")
SECRETS = ("Doe", "Jane", "SECRET-1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(tmp_path_factory.mktemp("files"), volume=ramp(12, 70, 80))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> object:
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        server.store(files)
        yield server


def study_of(server: Orthanc) -> str:
    return f"{server.address}/studies/{STUDY_UID}"


def require_same(one: Study, other: Study) -> None:
    for left, right in zip(one.series(), other.series(), strict=True):
        assert (left.series, left.modality, left.units, left.description) == (
            right.series, right.modality, right.units, right.description
        )  # fmt: skip
        assert (left.affine is None) == (right.affine is None)
        if left.affine is not None and right.affine is not None:
            assert np.array_equal(left.affine.matrix, right.affine.matrix)
        assert [o.sop_uid for o in left.origins] == [o.sop_uid for o in right.origins]
        assert np.array_equal(left.read(), right.read())


@needs_orthanc
def test_a_study_is_the_same_as_on_disk(orthanc: Orthanc, files: list[Path]) -> None:
    on_disk, on_server = open_study(files[0].parent), open_study(study_of(orthanc))
    require_same(on_disk, on_server)
    assert on_server.patient == on_disk.patient
    assert on_server.source == study_of(orthanc)
    one_series = open_study(f"{study_of(orthanc)}/series/{SERIES_UID}")
    require_same(on_disk, one_series)


@needs_orthanc
def test_headers_first_and_each_instance_once(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    study = open_study(study_of(orthanc))
    (volume,) = study.volumes()
    assert volume.shape == (12, 70, 80)
    assert list(tmp_path.iterdir()) == []
    volume.read(slices=[3, 4])
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    assert len(list(folder.iterdir())) == 2
    volume.read(slices=[4, 5, -1])
    assert len(list(folder.iterdir())) == 4
    del study, volume
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@needs_orthanc
def test_color_enhanced_and_what_is_no_image(tmp_path: Path) -> None:
    from osler.study import Affine

    affine = Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(-10.0, -20.0, 30.0))
    enhanced = write_enhanced(tmp_path / "in" / "e.dcm", volume=ramp(5, 70, 72, "uint16"), affine=affine, slope=2.0)
    color = base_dataset(
        np.random.default_rng(0).integers(0, 255, (70, 90, 3)).astype(np.uint8),
        modality="US",
        SeriesInstanceUID="1.2.3.9",
    )
    save(color, tmp_path / "in" / "c.dcm")
    report = base_dataset(ramp(1)[0], modality="SR", SeriesInstanceUID="1.2.3.8")
    save(report, tmp_path / "in" / "r.dcm")
    with running(tmp_path / "orthanc") as server:
        server.store([enhanced, tmp_path / "in" / "c.dcm", tmp_path / "in" / "r.dcm"])
        study = open_study(study_of(server))
        require_same(open_study(tmp_path / "in"), study)
        assert "structured report" in study.left_out[0].why


@needs_orthanc
@needs_shared_data
def test_a_real_compressed_series(tmp_path: Path) -> None:
    assert SHARED_DATA is not None
    folder = SHARED_DATA / "ct/lidc-idri-0314/dicom"
    paths = sorted(folder.glob("*.dcm"))[:9]
    for path in paths:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    with running(tmp_path / "orthanc") as server:
        server.store(paths)
        (listed,) = list_studies(server.address)
        require_same(open_study(tmp_path / "in"), open_study(listed.address))


@needs_orthanc
def test_studies_are_listed_without_names(orthanc: Orthanc) -> None:
    (study,) = list_studies(orthanc.address)
    assert (study.study_uid, study.modalities, study.instances) == (STUDY_UID, ("CT",), 12)
    assert list_studies(orthanc.address + "?StudyDate=19990101-19991231") == ()
    assert len(list_studies(orthanc.address + "?PatientID=SECRET-1")) == 1
    shown = invoke("inspect", orthanc.address + "?PatientID=SECRET-1")
    assert shown.exit_code == 0, shown.output
    assert STUDY_UID in shown.output
    assert "2024-01-02" in shown.output
    assert not any(secret in shown.output for secret in SECRETS)
    as_json = invoke("inspect", orthanc.address, "--json")
    assert f'"study_uid": "{STUDY_UID}"' in as_json.output
    one = invoke("inspect", study.address, "--no-picture")
    assert one.exit_code == 0, one.output
    assert "80 x 70" in one.output
    assert not any(secret in one.output for secret in SECRETS)


@needs_orthanc
def test_only_the_named_server_is_contacted_and_no_log_names_anyone(
    orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)
    with odd_server.watched_connections(monkeypatch) as seen:
        list_studies(orthanc.address + "?PatientID=SECRET-1")
        open_study(study_of(orthanc)).volumes()[0].read()
    assert seen
    assert {address[:2] for address in seen} == {("127.0.0.1", orthanc.web)}
    assert not any(secret in record.getMessage() for record in caplog.records for secret in SECRETS)


@needs_orthanc
def test_credentials_come_from_the_environment(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "orthanc", users={"reader": "geheim-77"}) as server:
        server.store(files[:1])
        with pytest.raises(ServerError, match=r"refuses access to this study \(HTTP status 401\)"):
            open_study(study_of(server))
        monkeypatch.setenv("OSLER_DICOMWEB_USER", "reader")
        monkeypatch.setenv("OSLER_DICOMWEB_PASSWORD", "wrong-77")
        with pytest.raises(ServerError, match="401") as caught:
            open_study(study_of(server))
        assert "wrong-77" not in repr(caught.value) + str(caught.value.__cause__)
        monkeypatch.setenv("OSLER_DICOMWEB_PASSWORD", "geheim-77")
        study = open_study(study_of(server))
        next(study.series()).read()
        assert "geheim" not in repr(study)
        monkeypatch.delenv("OSLER_DICOMWEB_USER")
        named = tmp_path / "netrc"
        named.write_text("machine 127.0.0.1 login reader password geheim-77\n")
        named.chmod(0o600)
        monkeypatch.setenv("OSLER_DICOMWEB_NETRC", str(named))
        assert open_study(study_of(server)).source == study_of(server)


@needs_orthanc
def test_a_server_that_dies_and_comes_back(files: list[Path], tmp_path: Path) -> None:
    with running(tmp_path / "orthanc") as server:
        server.store(files)
        (volume,) = open_study(study_of(server)).volumes()
        first = volume.read(slices=[0, 1, 2])
        server.kill()
        assert np.array_equal(volume.read(slices=[0, 1, 2]), first)
        with pytest.raises(ServerError, match="cannot be reached") as caught:
            volume.read()
        assert "0 of 9 instances were fetched; they are kept" in str(caught.value)
        server.start()
        assert volume.read().shape == (12, 70, 80)


@needs_orthanc
def test_a_kill_in_the_middle_of_a_transfer(tmp_path: Path) -> None:
    paths = write_series(
        tmp_path / "in", volume=np.random.default_rng(0).integers(0, 999, (24, 384, 384)).astype("int16")
    )
    with running(tmp_path / "orthanc") as server:
        server.store(paths)
        (volume,) = open_study(study_of(server)).volumes()
        timer = threading.Timer(0.15, server.kill)
        timer.start()
        try:
            volume.read()
        except ServerError as error:
            assert "of 24 instances were fetched" in str(error)  # noqa: PT017
        timer.join()
        server.start()
        assert np.array_equal(volume.read(), open_study(tmp_path / "in").volumes()[0].read())


@needs_orthanc
def test_a_wrong_study_and_a_wrong_path(orthanc: Orthanc) -> None:
    with pytest.raises(ServerError, match="does not have this study"):
        open_study(f"{orthanc.address}/studies/1.2.3.4.5.6")
    with pytest.raises(ServerError, match="404"):
        open_study(f"dicomweb://127.0.0.1:{orthanc.web}/nowhere/studies/{STUDY_UID}")
    with pytest.raises(RequestError, match="names a server, not a study"):
        open_study(orthanc.address)
    with pytest.raises(ServerError, match="speaks no TLS"):
        open_study(study_of(orthanc).replace("dicomweb:", "dicomwebs:"))


BAD_METADATA = {
    "500": (lambda h: reply(h, b"oops", status=500), "failed to give this study"),
    "503": (lambda h: reply(h, b"busy", status=503), "503"),
    "403": (lambda h: reply(h, b"no", status=403), "refuses access"),
    "html": (lambda h: reply(h, b"<html>Login</html>"), "something that is not DICOM"),
    "empty": (lambda h: reply(h, b"[]", kind="application/dicom+json"), "does not have this study"),
    "no records": (lambda h: reply(h, b"[1, 2]", kind="application/dicom+json"), "something that is not DICOM"),
    "cut": (lambda h: reply(h, b'[{"0008', kind="application/dicom+json", length=5000), "stopped in the middle"),
    "drip": (odd_server.drip, "did not send this study in time"),
    "silent": (odd_server.silent, "did not send this study in time"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_answers_give_one_clear_error(case: str, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_DICOMWEB_TIMEOUT", "1")
    answer, said = BAD_METADATA[case]
    start = time.monotonic()
    with OddServer(files, metadata=answer) as server, pytest.raises(ServerError, match=said) as caught:
        open_study(server.study)
    assert time.monotonic() - start < 20
    assert caught.value.next_step


BAD_INSTANCES = {
    "html": (lambda h: reply(h, b"<html>", kind="text/html"), "something that is not DICOM"),
    "truncated multipart": (lambda h: reply_file(h, b"", closing=False), "not"),
    "500": (lambda h: reply(h, b"", status=500), "failed to give an image"),
    "cut": (lambda h: reply(h, b"--XX", kind="multipart/related; boundary=XX", length=99999), "stopped in the middle"),
}


@pytest.mark.parametrize("case", BAD_INSTANCES)
def test_bad_instances_give_one_clear_error(case: str, files: list[Path]) -> None:
    answer, said = BAD_INSTANCES[case]
    with OddServer(files, instance=answer) as server:
        (volume,) = open_study(server.study).volumes()
        with pytest.raises(OslerError, match=said):
            volume.read()


def test_a_file_that_is_cut_inside_of_its_multipart_is_noticed(files: list[Path]) -> None:
    with OddServer(files) as server:
        server.instance = lambda h: reply_file(h, server.files[h.path.rsplit("/", 1)[1]].read_bytes(), keep=4000)
        (volume,) = open_study(server.study).volumes()
        with pytest.raises(OslerError, match=r"truncated|not DICOM|in the middle"):
            volume.read()


def test_another_instance_than_asked_for_is_noticed(files: list[Path]) -> None:
    with OddServer(files) as server:
        wrong = files[0].read_bytes()
        server.instance = lambda h: reply_file(h, wrong)
        (volume,) = open_study(server.study).volumes()
        with pytest.raises(ServerError, match="not DICOM"):
            volume.read()


def test_what_was_fetched_before_a_failure_is_kept(files: list[Path]) -> None:
    with OddServer(files) as server:
        (volume,) = open_study(server.study).volumes()
        bad = volume.origins[7].sop_uid
        server.instance = lambda h: (
            reply(h, b"", status=500)
            if h.path.endswith(bad)
            else reply_file(h, server.files[h.path.rsplit("/", 1)[1]].read_bytes())
        )
        with pytest.raises(ServerError, match="of 12 instances were fetched; they are kept"):
            volume.read()
        asked = len(server.requests)
        server.instance = None
        assert volume.read().shape == (12, 70, 80)
        again = [path.rsplit("/", 1)[1] for path in server.requests[asked:]]
        assert bad in again
        assert len(again) < 12


def test_no_redirect_is_followed(files: list[Path]) -> None:
    with OddServer(files) as other:

        def elsewhere(handler: odd_server.BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", f"http://127.0.0.1:{other.port}{handler.path}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with OddServer(files, metadata=elsewhere) as server, pytest.raises(ServerError, match="is not followed"):
            open_study(server.study)
        assert other.requests == []


def test_a_token_is_sent_and_no_password_unencrypted(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_DICOMWEB_TOKEN", "tok-123")
    with OddServer(files) as server:
        open_study(server.study)
        assert server.headers[0]["Authorization"] == "Bearer tok-123"
    with pytest.raises(RequestError, match="unencrypted"):
        open_study("dicomweb://192.0.2.7/p/studies/1.2.3")


def test_a_study_can_be_sent_to_another_process(files: list[Path]) -> None:
    with OddServer(files) as server:
        study = open_study(server.study)
        again = pickle.loads(pickle.dumps(study))
        assert np.array_equal(again.volumes()[0].read(), study.volumes()[0].read())


def test_a_study_without_images(tmp_path: Path) -> None:
    report = save(base_dataset(ramp(1)[0], modality="SR"), tmp_path / "r.dcm")
    with OddServer([report]) as server, pytest.raises(UnsupportedError, match="holds nothing that can be used"):
        open_study(server.study)


def test_a_study_dated_in_the_future_is_said_and_read(tmp_path: Path) -> None:
    one = tmp_path / "one"
    files = write_series(one, volume=ramp(3), StudyDate="20931231")
    with OddServer(files) as server:
        study = open_study(server.study)
        assert study.problems == open_study(one).problems == ("A study is dated in the future: 2093-12-31.",)
        assert study.timepoints[0].date == dt.date(2093, 12, 31)
        require_same(open_study(one), study)
        shown = invoke("inspect", server.study)
    assert shown.exit_code == 0
    assert "dated in the future: 2093-12-31" in shown.output


def two_patients(folder: Path) -> list[Path]:
    """One study whose images name two patients, as a wrong merge on a server leaves it."""
    one = save(base_dataset(ramp(1)[0], PatientBirthDate="19500101"), folder / "1.dcm")
    other = base_dataset(ramp(1)[0], PatientID="OTHER-9", PatientBirthDate="19600202", SeriesInstanceUID="1.2.3.9")
    return [one, save(other, folder / "2.dcm")]


def test_several_patients_in_one_study_are_refused_as_in_a_folder(tmp_path: Path) -> None:
    files = two_patients(tmp_path)
    with OddServer(files) as server:
        for place in (server.study, tmp_path):
            with pytest.raises(PatientMixError, match="belong to 2 patients") as caught:
                open_study(place)
            assert "OTHER-9" not in str(caught.value)
        mixed, on_disk = open_study(server.study, mixing="allow"), open_study(tmp_path, mixing="allow")
    assert len(mixed.timepoints[0].series) == 2
    assert mixed.problems == on_disk.problems
    assert "different patients were put together" in mixed.problems[0]


def test_a_record_is_tied_to_a_study_on_a_server_as_to_one_on_disk(tmp_path: Path) -> None:
    image = save(base_dataset(ramp(1)[0], PatientBirthDate="19500101"), tmp_path / "study" / "1.dcm")

    same = make_fhir.write(tmp_path / "same.json", make_fhir.patient("SECRET-1", birth="1950-01-01"), observation())
    other = make_fhir.write(tmp_path / "b.json", make_fhir.patient("N", birth="1970-05-05"), observation())
    with OddServer([image]) as server:
        for place in (server.study, image):
            assert open_patient(place, records=[same]).problems == ()
            with pytest.raises(PatientMixError, match=r"b\.json \(record\)"):
                open_patient(place, records=[other])


def test_a_server_that_is_down() -> None:
    with pytest.raises(ServerError, match=r"127.0.0.1:9 cannot be reached"):
        open_study("dicomweb://127.0.0.1:9/p/studies/1.2.3")
    shown = invoke("inspect", "dicomweb://127.0.0.1:9/p")
    assert shown.exit_code == 2
    assert "cannot be reached" in shown.stderr
