# Shared by the scripts that write images: `. "$(dirname "$0")/oci.sh"`. Writes an image in the layout
# of OCI, in the folder `$to`, without a daemon: the same files give the same digest.
# shellcheck shell=bash

# The commit's time, if there is one, so that every image of it has the same date.
image_date() {
    local created
    created="${SOURCE_DATE_EPOCH:-$(git -C "$(dirname "${BASH_SOURCE[0]}")" log -1 --format=%ct 2>/dev/null || echo 0)}"
    date --utc --date="@$created" +%Y-%m-%dT%H:%M:%SZ
}

image_version() { sed -n '/^version = /{s/^version = "\(.*\)"/\1/p;q}' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml"; }

digest() { sha256sum "$1" | cut -d' ' -f1; }

# Begins an image in the folder.
new_layout() {
    rm -rf "$to"
    mkdir -p "$to/blobs/sha256"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$to/oci-layout"
}

# Puts a file where the layout requires it; prints the descriptor for it.
blob() {
    local type="$1" file="$2" name
    name="$(digest "$file")"
    cp "$file" "$to/blobs/sha256/$name"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%d}' "$type" "$name" "$(wc -c <"$file")"
}

# Ends it: the manifest is the only one. Prints the image's digest.
publish_manifest() {
    local manifest="$1" name="${2:-}" descriptor
    descriptor="$(blob application/vnd.oci.image.manifest.v1+json "$manifest")"
    # Under this name, tools that load the image list it.
    [ -z "$name" ] || descriptor="${descriptor%\}},\"annotations\":{\"org.opencontainers.image.ref.name\":\"$name\"}}"
    printf '{"schemaVersion":2,"manifests":[%s]}\n' "$descriptor" >"$to/index.json"
    printf 'sha256:%s\n' "$(digest "$manifest")"
}
