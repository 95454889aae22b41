"""Loads exports the way others do, without the package: `python loaders.py python|session|c_api JOBS.json`.

A job is a dict: `path` of the version, `inputs` and `outputs` (.npz files with arrays named "signature/tensor"),
`tensors`, {signature: [{input: tensor's name}, {output: tensor's name}]}, and `at_once`: whether one run answers all
signatures, where there are runs. The optimizer of graphs works through the whole graph before the first run of each
set of outputs.
"""

import collections
import ctypes
import importlib.util
import json
import pathlib
import sys

import numpy as np

for module in ("tfvae", "tensorflow_probability", "tf_keras"):
    sys.modules[module] = None  # importing it raises


def in_python(job, requests):
    import tensorflow as tf

    served = tf.saved_model.load(job["path"]).signatures
    answers = {name: served[name](**inputs) for name, inputs in requests.items()}
    return {f"{name}/{key}": value.numpy() for name, answer in answers.items() for key, value in answer.items()}


def in_session(job, requests):
    """As TF Serving runs it: the tag `serve`, tensors by their names."""
    import tensorflow as tf

    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        tf.compat.v1.saved_model.load(session, ["serve"], job["path"])
        return _in_runs(job, requests, lambda fed, fetched: session.run(fetched, fed))


def in_c_api(job, requests):
    """TensorFlow's C library alone, through ctypes; Python's tensorflow is not imported."""
    assert "tensorflow" not in sys.modules
    library = _Library()
    session = library.load(job["path"])
    return _in_runs(job, requests, lambda fed, fetched: library.run(session, fed, fetched))


def _in_runs(job, requests, run):
    """`run({tensor's name: value}, {key: tensor's name})` for each signature, or for all at once."""
    calls = []
    for name, inputs in requests.items():
        fed, fetched = job["tensors"][name]
        values = {fed[key]: value for key, value in inputs.items()}
        calls.append((values, {f"{name}/{key}": tensor for key, tensor in fetched.items()}))
    if job["at_once"]:
        calls = [tuple(dict(collections.ChainMap(*column)) for column in zip(*calls, strict=True))]
    return dict(collections.ChainMap(*(run(*call) for call in calls)))


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Library:
    types = (("float32", 1), ("uint8", 4), ("int64", 9))
    string, string_size = 7, 24

    def __init__(self):
        (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
        ctypes.CDLL(f"{folder}/libtensorflow_framework.so.2", mode=ctypes.RTLD_GLOBAL)
        self.c = ctypes.CDLL(f"{folder}/libtensorflow_cc.so.2", mode=ctypes.RTLD_GLOBAL)
        for name in ("NewStatus", "NewGraph", "NewSessionOptions", "LoadSessionFromSavedModel", "GraphOperationByName"):
            getattr(self.c, f"TF_{name}").restype = ctypes.c_void_p
        for name in ("AllocateTensor", "TensorData"):
            getattr(self.c, f"TF_{name}").restype = ctypes.c_void_p
        for name in ("Dim", "TensorByteSize"):
            getattr(self.c, f"TF_{name}").restype = ctypes.c_int64
        self.c.TF_Message.restype = ctypes.c_char_p
        self.graph = ctypes.c_void_p(self.c.TF_NewGraph())
        self.status = ctypes.c_void_p(self.c.TF_NewStatus())

    def check(self):
        if self.c.TF_GetCode(self.status) != 0:
            raise RuntimeError(self.c.TF_Message(self.status).decode())

    def load(self, path):
        options, tags = ctypes.c_void_p(self.c.TF_NewSessionOptions()), (ctypes.c_char_p * 1)(b"serve")
        session = self.c.TF_LoadSessionFromSavedModel(
            options, None, path.encode(), tags, 1, self.graph, None, self.status
        )
        self.check()
        return ctypes.c_void_p(session)

    def run(self, session, fed, fetched):
        keys, names = list(fed), list(fetched)
        values = (ctypes.c_void_p * len(keys))(*(self.tensor(value) for value in fed.values()))
        answers = (ctypes.c_void_p * len(names))()
        sources = (_Output * len(keys))(*(self.output(key) for key in keys))
        sinks = (_Output * len(names))(*(self.output(fetched[name]) for name in names))
        self.c.TF_SessionRun(
            *(session, None, sources, values, len(keys), sinks, answers, len(names), None, 0, None, self.status)
        )
        self.check()
        return {name: self.array(ctypes.c_void_p(answer)) for name, answer in zip(names, answers, strict=True)}

    def output(self, name):
        operation, index = name.split(":")
        return _Output(self.c.TF_GraphOperationByName(self.graph, operation.encode()), int(index))

    def tensor(self, array):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        if array.dtype.kind != "S":
            code = dict(self.types)[array.dtype.name]
            tensor = self.c.TF_AllocateTensor(code, shape, array.ndim, ctypes.c_size_t(array.nbytes))
            data = self.c.TF_TensorData(ctypes.c_void_p(tensor))
            ctypes.memmove(data, np.ascontiguousarray(array).ctypes.data, array.nbytes)
            return tensor
        size = ctypes.c_size_t(self.string_size * array.size)
        tensor = self.c.TF_AllocateTensor(self.string, shape, array.ndim, size)
        data = self.c.TF_TensorData(ctypes.c_void_p(tensor))
        for i, content in enumerate(array.tolist()):
            place = ctypes.c_void_p(data + i * self.string_size)
            self.c.TF_StringInit(place)
            self.c.TF_StringCopy(place, content, ctypes.c_size_t(len(content)))
        return tensor

    def array(self, tensor):
        shape = [self.c.TF_Dim(tensor, i) for i in range(self.c.TF_NumDims(tensor))]
        kind = {code: name for name, code in self.types}[self.c.TF_TensorType(tensor)]
        size = self.c.TF_TensorByteSize(tensor)
        return np.frombuffer(ctypes.string_at(self.c.TF_TensorData(tensor), size), kind).reshape(shape)


def main(loader, jobs):
    load = {"python": in_python, "session": in_session, "c_api": in_c_api}[loader]
    for job in json.loads(pathlib.Path(jobs).read_text()):
        requests = collections.defaultdict(dict)
        with np.load(job["inputs"]) as arrays:
            for key in arrays.files:
                signature, name = key.split("/")
                requests[signature][name] = arrays[key]
        np.savez(job["outputs"], **load(job, requests))


if __name__ == "__main__":
    main(*sys.argv[1:])
