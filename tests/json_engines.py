"""What three real engines make of a JSON Schema, a text at a time: xgrammar, llguidance, llama.cpp's own converter.

llguidance is what the embedded runtime uses for `json_schema`; a llama.cpp built without it uses the converter to GBNF.
Both are in the installed wheel.
"""

import ctypes
import functools
import json
import struct

from grammar_engines import _compiler, llama_accepts

_BYTES = 256


def _library():
    import xllamacpp.xllamacpp as wheel

    return ctypes.CDLL(wheel.__file__)


class _Tokenizer(ctypes.Structure):
    """`LlgTokenizerInit` of llguidance.h."""

    _fields_ = [
        ("vocab_size", ctypes.c_uint32),
        ("tok_eos", ctypes.c_uint32),
        ("token_lens", ctypes.c_void_p),
        ("token_bytes", ctypes.c_void_p),
        ("tokenizer_json", ctypes.c_char_p),
        ("tokenize_assumes_string", ctypes.c_bool),
        ("tokenize_fn", ctypes.c_void_p),
        ("use_approximate_greedy_tokenize_fn", ctypes.c_bool),
        ("room_for_later_fields", ctypes.c_uint64 * 10),
    ]


class _Init(ctypes.Structure):
    """`LlgConstraintInit` of llguidance.h; the wheel fills in its defaults."""

    _fields_ = [
        ("tokenizer", ctypes.c_void_p),
        ("log_buffer_level", ctypes.c_uint32),
        ("log_stderr_level", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 40),
    ]


@functools.cache
def _llguidance():
    library = _library()
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("llg_new_tokenizer", pointer, [pointer, text, size]),
        ("llg_constraint_init_set_defaults", None, [pointer, pointer]),
        ("llg_new_matcher", pointer, [pointer, text, text]),
        ("llg_matcher_consume_tokens", ctypes.c_int32, [pointer, pointer, size]),
        ("llg_matcher_is_accepting", ctypes.c_bool, [pointer]),
        ("llg_matcher_get_error", text, [pointer]),
        ("llg_free_matcher", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@functools.cache
def _byte_tokenizer():
    """A token for each byte, and the end of the text."""
    lengths = (ctypes.c_uint32 * (_BYTES + 1))(*([1] * _BYTES), 4)
    data = ctypes.create_string_buffer(bytes(range(_BYTES)) + b"</s>", _BYTES + 4)
    where = (ctypes.cast(lengths, ctypes.c_void_p), ctypes.cast(data, ctypes.c_void_p))
    init = _Tokenizer(_BYTES + 1, _BYTES, *where, None, False, None, True)
    problem = ctypes.create_string_buffer(500)
    made = _llguidance().llg_new_tokenizer(ctypes.byref(init), problem, 500)
    assert made, problem.value
    return made


def llguidance_accepts(schema, text):
    """Whether the text is a complete match of the schema in llguidance."""
    library, init = _llguidance(), _Init()
    library.llg_constraint_init_set_defaults(ctypes.byref(init), _byte_tokenizer())
    init.log_stderr_level = 0
    matcher = library.llg_new_matcher(ctypes.byref(init), b"json", json.dumps(schema).encode())
    try:
        problem = library.llg_matcher_get_error(matcher)
        assert not problem, f"llguidance does not take {json.dumps(schema)}: {problem.decode()}"
        data = text.encode()
        tokens = (ctypes.c_uint32 * len(data))(*data)
        return library.llg_matcher_consume_tokens(matcher, tokens, len(data)) == 0 and bool(
            library.llg_matcher_is_accepting(matcher)
        )
    finally:
        library.llg_free_matcher(matcher)


@functools.lru_cache(maxsize=64)
def _converted(schema_text):
    """Convert with llama.cpp's own converter (`json_schema_to_grammar(schema, force_gbnf=true)`)."""
    library = _library()
    parse, convert = library._ZN11common_json5parseERKSs, library._Z22json_schema_to_grammarRK11common_jsonb
    pointer = ctypes.c_void_p
    parse.argtypes, parse.restype = [pointer, pointer], pointer
    convert.argtypes, convert.restype = [pointer, pointer, ctypes.c_bool], pointer
    data = schema_text.encode()
    # A std::string of the old ABI: a pointer to the text, before it its length, capacity and count of references.
    held = ctypes.create_string_buffer(struct.pack("<QQiI", len(data), len(data), 1_000_000, 0) + data + b"\0")
    string, parsed, out = ctypes.c_void_p(ctypes.addressof(held) + 24), ctypes.create_string_buffer(512), pointer()
    parse(parsed, ctypes.byref(string))
    convert(ctypes.byref(out), parsed, True)
    size = ctypes.c_size_t.from_address(out.value - 24).value
    return ctypes.string_at(out.value, size).decode()


def converter_accepts(schema, text):
    """Whether the text is a complete match of the schema in a llama.cpp without llguidance."""
    return llama_accepts(_converted(json.dumps(schema)), text)


@functools.lru_cache(maxsize=64)
def _xgrammar_schema(schema_text):
    import xgrammar

    return _compiler().compile_grammar(xgrammar.Grammar.from_json_schema(schema_text))


@functools.lru_cache(maxsize=64)
def _xgrammar_tag(tag_text):
    import xgrammar

    return _compiler().compile_grammar(xgrammar.Grammar.from_structural_tag(tag_text))


def _matches(compiled, text):
    import xgrammar

    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and matcher.is_terminated()


def xgrammar_schema_accepts(schema, text):
    """Whether the text is a complete match of the schema in xgrammar."""
    return _matches(_xgrammar_schema(json.dumps(schema)), text)


def xgrammar_tag_accepts(tag, text):
    """Whether the text is a complete match of the structural tag in xgrammar."""
    return _matches(_xgrammar_tag(json.dumps(tag)), text)


SCHEMA_ENGINES = {
    "xgrammar": xgrammar_schema_accepts,
    "llguidance": llguidance_accepts,
    "converter": converter_accepts,
}
