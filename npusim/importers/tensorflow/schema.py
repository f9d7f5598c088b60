"""The messages of a TensorFlow graph file, as descriptors built here.

Names, numbers and kinds are facts of the file format. One line a message: ``number:name:kind``,
with ``*`` behind fields that repeat; a kind that is no scalar is a message.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "npusim.graph_file"
_MAP = "Entry"
_MESSAGES = {
    "Dim": "1:size:int64 2:name:bytes",
    "Shape": "2:dim:Dim* 3:unknown_rank:bool",
    "Tensor": "1:dtype:int32 2:tensor_shape:Shape 4:tensor_content:bytes 5:float_val:float* "
    "6:double_val:double* 7:int_val:int32* 8:string_val:bytes* 9:scomplex_val:float* "
    "10:int64_val:int64* 11:bool_val:bool* 12:dcomplex_val:double* 13:half_val:int32* "
    "16:uint32_val:uint32* 17:uint64_val:uint64*",
    "List": "2:s:bytes* 3:i:int64* 4:f:float* 5:b:bool* 6:type:int32* 7:shape:Shape* "
    "8:tensor:Tensor* 9:func:Func*",
    "Func": "1:name:bytes 2:attr:AttrEntry*",
    "Value": "1:list:List 2:s:bytes 3:i:int64 4:f:float 5:b:bool 6:type:int32 7:shape:Shape "
    "8:tensor:Tensor 9:placeholder:bytes 10:func:Func",
    "AttrEntry": "1:key:bytes 2:value:Value",
    "Node": "1:name:bytes 2:op:bytes 3:input:bytes* 4:device:bytes 5:attr:AttrEntry*",
    "Versions": "1:producer:int32 2:min_consumer:int32",
    "Arg": "1:name:bytes 3:type:int32 4:type_attr:bytes 5:number_attr:bytes 6:type_list_attr:bytes",
    "Signature": "1:name:bytes 2:input_arg:Arg* 3:output_arg:Arg*",
    "Return": "1:key:bytes 2:value:bytes",
    "Function": "1:signature:Signature 3:node_def:Node* 4:ret:Return*",
    "Library": "1:function:Function*",
    "Graph": "1:node:Node* 2:library:Library 4:versions:Versions",
}
_SCALARS = {
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}


@cache
def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE)
    file.syntax = "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for entry in fields.split():
            number, word, kind = entry.split(":")
            repeated = kind.endswith("*")
            label = "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL"
            kind = kind.rstrip("*")
            field = message.field.add(
                name=word,
                number=int(number),
                label=getattr(descriptor_pb2.FieldDescriptorProto, label),
            )
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
