# What a Qt project is built with, read from its root folder.

# qmake, cmake or none.
tool_of() {
    local file projects=0
    for file in "$1"/*.pro "$1"/.*.pro; do
        if [ -f "$file" ] || [ -L "$file" ]; then
            projects=$((projects + 1))
        fi
    done
    if [ "$projects" -eq 1 ]; then
        echo qmake
    elif [ -n "$(majors_of "$1")" ]; then
        echo cmake
    else
        echo none
    fi
}

# The Qt majors that a CMake project looks for, in its own order of preference: "6", "5", "6 5" or nothing.
majors_of() {
    [ -f "$1/CMakeLists.txt" ] || return 0
    # Without comments and on one line, since find_package may be spread over several.
    sed 's/#.*//' "$1/CMakeLists.txt" | tr '\n' ' ' | grep -Eio 'find_package *\( *Qt[^)]*\)' |
        grep -Eio 'Qt[56]' | tr -d 'QTqt' | awk '!seen[$0]++' | paste -sd ' ' || true
}
