# Gets a buildpack that somebody else keeps: fetch_buildpack URL FOLDER. A repository by its address, with a branch, tag
# or commit after "#"; or a packed one, when the address ends in .tgz or .tar.gz.

fetch_buildpack() {
    local url=${1%%#*} reference='' folder=$2
    [[ "$1" != *'#'* ]] || reference=${1#*#}
    if [[ "$url" =~ ^- || "$reference" =~ ^- ]]; then
        echo " !     $1 is not the address of a buildpack."
        return 1
    fi
    mkdir -p "$folder"
    case "${url%%\?*}" in
    *.tgz | *.tar.gz) fetch_packed "$url" "$folder" ;;
    *) fetch_repository "$url" "$reference" "$folder" ;;
    esac || return 1
    if [ ! -f "$folder/bin/detect" ] || [ ! -f "$folder/bin/compile" ]; then
        echo " !     $1 holds no bin/detect and bin/compile, so it is not a buildpack."
        return 1
    fi
    chmod +x "$folder"/bin/*
}

fetch_packed() {
    local packed inner
    if ! command -v curl >/dev/null; then
        echo " !     This stack has no curl, which fetches packed buildpacks. The Debian package curl brings it."
        return 1
    fi
    packed=$(mktemp)
    curl --fail --silent --show-error --location --connect-timeout 20 --speed-limit 1000 --speed-time 30 \
        --output "$packed" -- "$1" 2>&1 && tar -xzf "$packed" -C "$2" || {
        echo " !     The buildpack $1 could not be fetched and unpacked."
        return 1
    }
    rm -f "$packed"
    # Archives made by code hosts hold everything in one folder.
    inner=$(find "$2" -mindepth 1 -maxdepth 1)
    if [ ! -d "$2/bin" ] && [ -d "$inner/bin" ]; then
        mv "$inner"/* "$2"/
    fi
}

fetch_repository() {
    if ! command -v git >/dev/null; then
        echo " !     This stack has no git, which fetches buildpacks. The Debian package git brings it."
        return 1
    fi
    # The last commit is enough; only a commit that no branch or tag names needs all of them.
    bounded_git clone --quiet --depth 1 ${2:+--branch "$2"} -- "$1" "$3" 2>/dev/null && return
    find "$3" -mindepth 1 -delete
    bounded_git clone --quiet -- "$1" "$3" 2>&1 &&
        { [ -z "$2" ] || bounded_git -C "$3" checkout --quiet "$2" -- 2>&1; } && return
    echo " !     The buildpack $1${2:+ at $2} could not be cloned. Check its address and the name after the #."
    return 1
}

# A remote that stops sending is given up, and none is asked for a password that nobody could type.
bounded_git() {
    GIT_TERMINAL_PROMPT=0 git -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=30 -c advice.detachedHead=false "$@"
}
