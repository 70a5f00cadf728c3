"""The service against its own OpenAPI document: what schemathesis makes of it is answered as it says."""

import json
from importlib.resources import files

import pytest
from serve_fakes import Server, png

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed; pip install schemathesis"
)
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed; pip install hypothesis")

DOCUMENT = json.loads(files("facerestore.serve").joinpath("openapi.json").read_text())
PICTURES = hypothesis.strategies.sampled_from(
    [png(height=40, width=60), png(), png(format="JPEG"), b"no picture", b""]
)
EXAMPLES = 6
"""Requests for each operation and way of generating them."""

UNKNOWABLE = [schemathesis.checks.positive_data_acceptance]
"""What a picture is, and how parts of faces are written, no JSON Schema says: such requests may be refused."""

schemathesis.openapi.format("binary", PICTURES)
for media in DOCUMENT["paths"]["/v1/restore"]["post"]["requestBody"]["content"]:
    if "multipart" not in media:
        schemathesis.openapi.media_type(media, PICTURES)
schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("gate"))
    yield started
    assert started.stop() == 0


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_answers_are_those_of_the_document(case, server):
    case.call_and_validate(base_url=server.url, excluded_checks=UNKNOWABLE)
