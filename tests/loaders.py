"""Loads exports the way others do, without the package: `python loaders.py python|session|c_api JOBS.json`.

A job is a dict: `path` of the version, `inputs` and `outputs` (.npz files with arrays named "signature/tensor"), and
`tensors`, {signature: [{input: tensor's name}, {output: tensor's name}]}.
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


def in_python(path, tensors):
    import tensorflow as tf

    served = tf.saved_model.load(path).signatures
    return lambda name, inputs: {k: v.numpy() for k, v in served[name](**inputs).items()}


def in_session(path, tensors):
    """As TF Serving runs it: the tag `serve`, tensors by their names."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    tf.compat.v1.saved_model.load(session, ["serve"], path)

    def call(name, inputs):
        fed, fetched = tensors[name]
        return session.run(fetched, {fed[key]: value for key, value in inputs.items()})

    return call


def in_c_api(path, tensors):
    """TensorFlow's C library alone, through ctypes; Python's tensorflow is not imported."""
    assert "tensorflow" not in sys.modules
    library = _Library()
    session = library.load(path)
    return lambda name, inputs: library.run(session, *tensors[name], inputs)


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

    def run(self, session, fed, fetched, inputs):
        keys, names = list(inputs), list(fetched)
        values = (ctypes.c_void_p * len(keys))(*(self.tensor(inputs[key]) for key in keys))
        answers = (ctypes.c_void_p * len(names))()
        sources = (_Output * len(keys))(*(self.output(fed[key]) for key in keys))
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
        requests, answers = collections.defaultdict(dict), {}
        with np.load(job["inputs"]) as arrays:
            for key in arrays.files:
                signature, name = key.split("/")
                requests[signature][name] = arrays[key]
        call = load(job["path"], job["tensors"])
        for signature, inputs in requests.items():
            answers |= {f"{signature}/{name}": value for name, value in call(signature, inputs).items()}
        np.savez(job["outputs"], **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
