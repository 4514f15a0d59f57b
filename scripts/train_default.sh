#!/usr/bin/env bash
# Train the default model as its card says: real orthophotos of four places and procedural scenes, in two runs.
# usage: train_default.sh DATA WORK    DATA: banepa_south, banepa_east, zanzibar, dhaka, banepa_north; WORK: an empty folder
set -euo pipefail
data=$1
work=$2
here=$(cd "$(dirname "$0")" && pwd)
tiles() { # NAME SPLIT ARGUMENTS
    geofootprint tile "${@:3}" --gsd 0.15 --size 1024 --split "$2" --contour-width 4 -o "$work/$1"
}

for place in banepa_south banepa_east zanzibar dhaka; do
    tiles "$place" 1,0,0 "$data/$place/ortho.tif" --footprints "$data/$place/buildings.gpkg"
done
# For validation alone: it decides which checkpoint is kept, and at which threshold.
tiles banepa_north 0,1,0 "$data/banepa_north/ortho.tif" --footprints "$data/banepa_north/buildings.gpkg" \
    --aoi "$data/banepa_north/aoi.geojson"
python "$here/make_scenes.py" 24 "$work/scenes_raw"
tiles scenes 1,0,0 "$work"/scenes_raw/scene_*.tif --footprints "$work/scenes_raw/buildings.gpkg"

cd "$work"
cat > first.toml <<TOML
[data]
crops_per_epoch = 2000
TOML
cat > second.toml <<TOML
[data]
crops_per_epoch = 2400
[loss]
adversarial_start = 0.75
[optimizer]
learning_rate = 0.0008
TOML
geofootprint train banepa_south banepa_east zanzibar dhaka banepa_north -o first --config first.toml --minutes 25
geofootprint train banepa_south banepa_east zanzibar dhaka scenes:0.4 banepa_north -o second --config second.toml \
    --init-from first/best.ckpt --minutes 62
geofootprint export second/best.ckpt -o default.onnx --half --name geofootprint-default-v0 --licence "ODbL 1.0, CC BY 4.0" \
    --source "OpenAerialMap contributors: imagery of Banepa, Zanzibar, Dhaka" "CC BY 4.0" \
    --source "OpenStreetMap contributors: buildings" "ODbL 1.0" \
    --source "geofootprint: procedural scenes" "Apache-2.0"
