_engine_completion() {
    local line kind value
    COMPREPLY=()
    while IFS= read -r line; do
        kind=${line%%,*} value=${line#*,}
        case $kind in
            dir) compopt -o plusdirs ;;
            file) compopt -o bashdefault -o default ;;
            part) compopt -o nospace && COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(
        COMP_LINE=${COMP_LINE:0:COMP_POINT} ENGINE_WORDBREAKS=$COMP_WORDBREAKS _ENGINE_COMPLETE=bash_complete "$1" 2>/dev/null
    )
}
complete -o nosort -F _engine_completion engine
