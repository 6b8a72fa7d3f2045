"""A model's server as people write it with FastAPI: uvicorn fastapi_app:app."""

import onnx_model
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

app = FastAPI()
models = {name: onnx_model.Model(name) for name in onnx_model.MODELS}
LENGTH = "Inference-Header-Content-Length"


@app.get("/v2/health/ready")
def ready():
    return {}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request):
    if LENGTH not in request.headers:
        inputs = onnx_model.from_json((await request.json())["inputs"])
        return onnx_model.to_json(name, await run_in_threadpool(models[name].run, inputs))
    inputs = onnx_model.from_binary(await request.body(), int(request.headers[LENGTH]))
    body, length = onnx_model.to_binary(name, await run_in_threadpool(models[name].run, inputs))
    return Response(body, headers={LENGTH: str(length), "Content-Type": "application/octet-stream"})
