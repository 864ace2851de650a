# What a build made on the way to its programs is kept in the cache for the next build of the app, and is left out of
# the slug. Every push brings all files with a new time, so the content decides: a source file that is the same as at
# the last build gets an old time, every other one the present, and make does the rest.

# begin_reuse FOLDER KEY: brings the kept files into the current folder. Another key (Qt, options, compiler) means that
# nothing can be used.
begin_reuse() {
    kept=$1 reuse_key=$2 reuse_success=no
    sources=$(mktemp) unchanged=$(mktemp)
    find . -type f -print0 | xargs -0 -r sha256sum --zero | LC_ALL=C sort -z >"$sources"
    if [ -f "$kept/key" ] && [ "$(cat "$kept/key")" = "$reuse_key" ] && [ -f "$kept/sources" ]; then
        LC_ALL=C comm -z -12 "$sources" "$kept/sources" >"$unchanged"
        find . -type f -print0 | xargs -0 -r touch
        names "$unchanged" | xargs -0 -r touch -d 2000-01-01
        cp -a --no-clobber "$kept/files/." .
    fi
    trap end_reuse EXIT
}

# Runs however the build ends. After a failed one, only files that were the same before count as known: what was built
# of the others may be older than they are.
end_reuse() {
    local made
    made=$(mktemp)
    rm -rf "$kept"
    mkdir -p "$kept/files"
    find . \( -name CMakeFiles -o -name '*_autogen' \) -prune -print0 -o -type f \( -name '*.o' -o -name 'moc_*' \
        -o -name '*.moc' -o -name 'ui_*.h' -o -name 'qrc_*.cpp' -o -name CMakeCache.txt -o -name cmake_install.cmake \) \
        -print0 | LC_ALL=C sort -z >"$made"
    names "$sources" | LC_ALL=C sort -z | LC_ALL=C comm -z -13 - "$made" >"$made.ours"
    # A project that keeps sources in folders of such names stays as it is: only whole files and folders of ours move.
    xargs -0 -r -n 200 cp -a --parents -t "$kept/files" <"$made.ours"
    xargs -0 -r rm -rf <"$made.ours"
    if [ "$reuse_success" = yes ]; then
        mv "$sources" "$kept/sources"
    else
        mv "$unchanged" "$kept/sources"
    fi
    printf '%s\n' "$reuse_key" >"$kept/key"
    rm -f "$sources" "$unchanged" "$made" "$made.ours"
}

# The file names in a list made by sha256sum --zero.
names() {
    cut -z -c 67- "$1"
}
