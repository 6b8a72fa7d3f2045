"""Some real models, served as they are and with a config, beside ONNX Runtime; `make models-check` takes more."""

import pytest

from real_models import FEW, Asker
from test_row_trust import standing


@pytest.mark.parametrize("model", FEW, ids=lambda model: model.name)
def test_every_answer_is_the_models(serve, tmp_path, model):
    asker = Asker(model)
    kinds = asker.write(tmp_path / "repository")
    server = serve(tmp_path / "repository", "--cache-config=local,size=256MB")
    for kind in kinds:
        for numbers in asker.questions():
            asker.ask(server, kind, numbers)
    assert standing(server, "cached")[0] == "request"
