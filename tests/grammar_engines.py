"""The two real grammar engines, a text at a time: llama.cpp's matcher out of the installed wheel, and xgrammar's."""

import ctypes
import functools
import json


@functools.cache
def _llama():
    import xllamacpp.xllamacpp as wheel

    lib = ctypes.CDLL(wheel.__file__)
    init = lib._Z23llama_grammar_init_implPK11llama_vocabPKcS3_bPS3_mPKim
    init.restype = ctypes.c_void_p
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    init.argtypes = [pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_bool, pointer, size, pointer, size]
    accept = lib._Z20llama_grammar_acceptP13llama_grammarj
    accept.argtypes, accept.restype = [pointer, ctypes.c_uint32], None
    stacks = lib._Z24llama_grammar_get_stacksP13llama_grammar
    stacks.argtypes, stacks.restype = [pointer], ctypes.POINTER(size * 3)
    free = lib._Z23llama_grammar_free_implP13llama_grammar
    free.argtypes, free.restype = [pointer], None
    return init, accept, stacks, free


def _stacks(address):
    begin, end, _ = _llama()[2](address).contents
    return [(ctypes.c_size_t * 2).from_address(at)[:] for at in range(begin, end, 24)]


def llama_compiles(grammar):
    """Whether llama.cpp's parser takes the grammar."""
    init, _, _, free = _llama()
    address = init(None, grammar.encode(), b"root", False, None, 0, None, 0)
    if address:
        free(address)
    return bool(address)


def llama_accepts(grammar, text):
    """Whether the text is a complete match of the grammar in llama.cpp: after its last character a stack is empty."""
    init, accept, _, free = _llama()
    address = init(None, grammar.encode(), b"root", False, None, 0, None, 0)
    assert address, f"llama.cpp does not compile:\n{grammar}"
    try:
        for char in text:
            accept(address, ord(char))
            if not _stacks(address):
                return False
        return any(begin == end for begin, end in _stacks(address))
    finally:
        free(address)


@functools.cache
def _compiler():
    import xgrammar

    info = xgrammar.TokenizerInfo(["</s>"], vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[0])
    return xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)


@functools.lru_cache(maxsize=64)
def _xgrammar_compiled(grammar):
    import xgrammar

    return _compiler().compile_grammar(xgrammar.Grammar.from_ebnf(grammar))


def xgrammar_accepts(grammar, text):
    """Whether the text is a complete match of the grammar in xgrammar."""
    import xgrammar

    matcher = xgrammar.GrammarMatcher(_xgrammar_compiled(grammar), terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and matcher.is_terminated()


ENGINES = {"llama_cpp": llama_accepts, "xgrammar": xgrammar_accepts}


def both_accept(grammar, text):
    """Whether both engines accept; they must agree."""
    answers = {name: accepts(grammar, text) for name, accepts in ENGINES.items()}
    assert len(set(answers.values())) == 1, f"the engines differ: {answers} on {json.dumps(text)}\n{grammar}"
    return answers["xgrammar"]
