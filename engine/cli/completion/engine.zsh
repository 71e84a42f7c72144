#compdef engine
_engine_completion() {
    local kind value help
    local -a plain described part
    while IFS= read -r kind && IFS= read -r value && IFS= read -r help; do
        case $kind in
            plain)
                if [[ -n $help ]]; then
                    described+=("${${value//\\/\\\\}//:/\\:}:$help")
                else
                    plain+=("$value")
                fi
                ;;
            part) part+=("$value") ;;
            dir) _files -/ ;;
            file) _files ;;
        esac
    done < <(COMP_WORDS="${(j: :)words}" COMP_CWORD=$((CURRENT - 1)) _ENGINE_COMPLETE=zsh_complete "${words[1]}" 2>/dev/null)
    (($#described)) && _describe -V engine described
    (($#plain)) && compadd -V engine -a plain
    (($#part)) && compadd -V engine -S '' -a part
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _engine_completion "$@"
else
    compdef _engine_completion engine
fi
