"""The columns of every table that trygon writes. Ids are int64, stable across machines and runs."""

import pyarrow as pa

from trygon.taxonomy.taxon import RANKS

_RANK_FIELDS = [pa.field(rank, pa.string()) for rank in RANKS]

NAME_COLUMNS = ("type", "rank", *RANKS, "scientific", "common")
"""The columns by which OBSERVATION, EVENT_TAXON and REVIEW name what is there."""

RECORD = pa.schema(
    [
        pa.field("source_id", pa.string(), nullable=False),
        *_RANK_FIELDS,  # as the source has them, neither cleaned nor resolved; blank where it has none
        pa.field("common", pa.string()),
        pa.field("license", pa.string()),
        pa.field("rights_holder", pa.string()),
        pa.field("source_url", pa.string()),  # the picture's page, as the source names it; blank where it names none
    ]
)
"""One row a picture that a source speaks of. No value is null."""

SAMPLE = pa.schema(
    [
        pa.field("sample_id", pa.int64(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),  # JPEG
        *_RANK_FIELDS,
        pa.field("common", pa.string()),
        # train, val (seen clades), unseen (held-out clades); train_small repeats some of train.
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("rights_holder", pa.string()),
        # How the name was matched to the backbone: exact, synonym, fuzzy, ambiguous, unresolved; blank without one.
        pa.field("resolution", pa.string()),
    ]
)
"""One row a sample in a shard: an image, its lineage, and where it comes from."""

REJECT = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("copy_of", pa.string()),  # SOURCE:SOURCE_ID of the picture that was kept instead
    ]
)
"""One row a picture that did not become a sample."""

COUNT = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        *_RANK_FIELDS,
        pa.field("common", pa.string()),
        pa.field("num_samples", pa.int64(), nullable=False),
    ]
)
"""One row a taxon of a split and a source."""

LISTED = pa.schema(
    [
        pa.field("media_id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the archive, forward slashes
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mark", pa.int64(), nullable=False),  # of the content: time of writing, ETag or checksum
        pa.field("member", pa.string()),  # where in its container; null for a file of its own
        pa.field("failure", pa.string()),  # why it is not to be read
        pa.field("timestamp", pa.timestamp("s")),  # that a list gives, in place of the picture's own
        pa.field("sequence", pa.string()),  # the burst that a list names
    ]
)
"""One row a file of the archive that is to be labelled, before it is read."""

MEDIA = pa.schema(
    [
        pa.field("media_id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # relative to the archive, forward slashes
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("bytes", pa.int64()),
        pa.field("mark", pa.int64()),  # as in LISTED: by it a changed file is found
        pa.field("member", pa.string()),  # where in its container; null for a file of its own
        pa.field("sequence", pa.string()),  # the burst that a list names
        pa.field("digest", pa.string()),  # SHA-256 of the content, hex: copies show; null where nothing could be read
        pa.field("timestamp", pa.timestamp("s")),  # the camera's own clock, no time zone
        # Why the clock cannot be right: before_2001 (timestamp is then null), future, backward, outside_deployment.
        pa.field("clock", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("make", pa.string()),
        pa.field("model", pa.string()),
        pa.field("serial", pa.string()),  # of the camera's body
        pa.field("orientation", pa.int8()),  # EXIF's 1 to 8; width and height are those of the upright frame
        pa.field("temperature", pa.float32()),  # degrees Celsius, as the camera measured it
        pa.field("kind", pa.string()),  # image, video
        pa.field("frame_rate", pa.float32()),  # of a video: pictures a second
        pa.field("duration", pa.float32()),  # of a video: seconds
        pa.field("frames", pa.list_(pa.int32())),  # of a video: the numbers of those that were looked at, from 0
        # Of a file that was cut off, the share of its rows or pictures that is there; null where it is whole.
        pa.field("decoded_share", pa.float32()),
        # Null where the frame was read. Else what stands in FAILURES.
        pa.field("failure", pa.string()),
    ]
)
"""One row a file in the archive, also those that cannot be read."""

FAILURES = {
    "empty": "has no bytes",
    "truncated": "was cut off; the share that was decoded stands beside it",
    "not_an_image": "is no picture or video, whatever it is called",
    "unsupported": "is of a format that is not read here, such as HEIC, raw or 7z, or packed in such a way; or a link",
    "too_large": "claims over 200 megapixels, or a side over 65,535; or is a picture, or in a zip or tar, over 512 MB",
    "undecodable": "is a picture that the decoder gives up on, or a detector",
    "unreadable": "cannot be read from the disk",
    "vanished": "was listed, and gone when it was to be read",
    "denied": "S3 refuses this object: no right to it, or it lies in Glacier",
    "s3_error": "S3 gave an error for this object, and gave it again after all retries",
    "not_in_detections": "has no entry in the file given with --detections",
    "failed_in_detections": "failed where the file given with --detections was made, or its entry is broken",
    "missing": "is in the list, and not where the list says",
    "outside": "has a path in a list, zip or tar that leads out of the archive",
    "nested": "is a zip or tar within another one",
    "encrypted": "is locked with a password in a zip",
    "damaged_archive": "is a zip or tar that is not whole, or no such file; or a zip's entry that cannot be so",
    "timeout": "took longer to read or decode than --file-timeout",
}
"""Why a file of an archive has no frame, in words that tables count."""

PASSING = ("unreadable", "vanished", "denied", "s3_error", "timeout")
"""Those of FAILURES whose reason may be gone by the next time, while the file is the same."""

DEPLOYMENT = pa.schema(
    [
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("start", pa.timestamp("s")),  # as the camera's clock should show it, like the end
        pa.field("end", pa.timestamp("s")),
    ]
)
"""One row a deployment of which a table or a list says something."""

DETECTION = pa.schema(
    [
        pa.field("detection_id", pa.int64(), nullable=False),
        pa.field("media_id", pa.int64(), nullable=False),
        pa.field("frame_number", pa.int32()),  # in a video, from 0; null in a still picture
        pa.field("category", pa.string(), nullable=False),  # animal, person, vehicle; frame where nothing detects
        pa.field("confidence", pa.float32(), nullable=False),
        # Normalised to 0..1 of the upright frame: left, top, width, height.
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("width", pa.float32(), nullable=False),
        pa.field("height", pa.float32(), nullable=False),
        pa.field("vector", pa.list_(pa.float16())),  # unit length
    ]
)
"""One row a detected animal, with the vector of its crop: relabelling reads no image."""

BOX = DETECTION.remove(DETECTION.get_field_index("vector"))
"""The same without the vector."""

EXAMPLE = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # as it was written: of a folder, or by who reviewed
        *_RANK_FIELDS,  # that were given with it; blank where none were
        pa.field("place", pa.string(), nullable=False),  # the picture, or the run that was reviewed
        pa.field("group", pa.int64(), nullable=False),  # the same for those of one event: they are nearly copies
        pa.field("digest", pa.string()),  # SHA-256 of the picture
        pa.field("failure", pa.string()),  # why it cannot be used, in the words of FAILURES
        pa.field("vector", pa.list_(pa.float16())),  # unit length; null where it cannot be used
    ]
)
"""One row an example: a picture, or a reviewed detection, whose taxon is known."""

GALLERY = pa.schema(
    [
        pa.field("picture_id", pa.int64(), nullable=False),
        *_RANK_FIELDS,
        pa.field("common", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("rights_holder", pa.string()),
        pa.field("source_url", pa.string()),  # of http or https, where the source names a page
        # Why it is not shown, in the words of REJECT, and no_license; null where it is.
        pa.field("failure", pa.string()),
        pa.field("vector", pa.list_(pa.float16())),  # unit length; null where it is not shown, like the thumbnail
        pa.field("thumbnail", pa.binary()),  # JPEG
    ]
)
"""One row a picture of a gallery: what it shows, whose it is, its vector, and a small copy to be shown."""

FAILURE = pa.schema(
    [
        pa.field("media_id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("bytes", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""One row a file that could not be read."""

OBSERVATION = pa.schema(
    [
        pa.field("observation_id", pa.int64(), nullable=False),
        pa.field("media_id", pa.int64(), nullable=False),
        pa.field("detection_id", pa.int64()),  # null for a blank frame
        pa.field("frame_number", pa.int32()),  # of the detection, in a video
        pa.field("event_id", pa.int64(), nullable=False),
        pa.field("type", pa.string(), nullable=False),  # animal, human, vehicle, blank, unknown
        pa.field("rank", pa.string()),  # the deepest rank that can be trusted
        *_RANK_FIELDS,
        pa.field("scientific", pa.string()),
        pa.field("common", pa.string()),
        pa.field("probability", pa.float32()),  # of the name at that rank
        pa.field("rank_probabilities", pa.list_(pa.float32())),  # of the best clade at each of the seven ranks
        pa.field("top_scientific", pa.list_(pa.string())),
        pa.field("top_probability", pa.list_(pa.float32())),
        # What the row rests on. detector: its category, or that it found nothing; classifier: the name as deep as the
        # labels go; rollup: the name moved up to where it reaches the floor; geofence: moved up to what the checklist
        # allows; few_shot: the best label has examples; human: a person's correction.
        pa.field("decided_by", pa.string(), nullable=False),
        # Why the row is left out of events, counts and exports; null where it counts. repeated: the same box in many
        # frames of a deployment; blank: the classifier sees nothing in the box.
        pa.field("set_aside", pa.string()),
    ]
)
"""One row an observation: a detection with its name, or a frame that nothing was found in."""

EVENT_TAXON = pa.struct(
    [
        pa.field("type", pa.string(), nullable=False),  # as in OBSERVATION
        pa.field("rank", pa.string()),
        *_RANK_FIELDS,
        pa.field("scientific", pa.string()),
        pa.field("common", pa.string()),
        pa.field("probability", pa.float32()),  # pooled over the frames that show the animal; of the surest of several
        pa.field("count", pa.int32()),  # the largest number seen in one frame; null for a blank event
        pa.field("decided_by", pa.string(), nullable=False),
        # The boxes that show it, whatever each was called alone; none for a blank event.
        pa.field("observation_ids", pa.list_(pa.int64()), nullable=False),
    ]
)

EVENT = pa.schema(
    [
        pa.field("event_id", pa.int64(), nullable=False),
        pa.field("deployment", pa.string(), nullable=False),
        pa.field("start", pa.timestamp("s")),
        pa.field("end", pa.timestamp("s")),
        pa.field("num_media", pa.int32(), nullable=False),
        # What it held, the surest first, no name an ancestor of another; one entry, blank, where all frames are.
        pa.field("taxa", pa.list_(EVENT_TAXON), nullable=False),
    ]
)
"""One row an event: frames of one deployment that follow each other within the gap, and what they show together."""

REPOOLED = pa.schema(
    [
        EVENT.field("event_id"),
        # Its boxes that people rejected, or named otherwise than the event, by ascending id.
        pa.field("left_out", pa.list_(pa.int64()), nullable=False),
        EVENT.field("taxa"),  # what the others show together
    ]
)
"""One row an event of which a person spoke against some boxes and not all, when it was named."""

REVIEWED = [
    pa.field("event_count", pa.int32()),  # individuals in the event, where the person gave it
    pa.field("life_stage", pa.string()),  # adult, subadult, juvenile
    pa.field("sex", pa.string()),  # female, male
    pa.field("reviewed_by", pa.string()),
    pa.field("reviewed_at", pa.timestamp("ms", "UTC")),
]

REVIEW = pa.schema(
    [
        pa.field("review_id", pa.string(), nullable=False),
        pa.field("undoes", pa.string()),  # the review that this one takes back; it names nothing itself then
        pa.field("event_id", pa.int64()),  # as it was shown
        # What it is said of. These ids stay when the run is labelled anew; an event's may not.
        pa.field("observation_ids", pa.list_(pa.int64())),
        pa.field("type", pa.string()),  # animal, human, vehicle, blank, unknown
        pa.field("rank", pa.string()),
        *_RANK_FIELDS,
        pa.field("scientific", pa.string()),
        pa.field("common", pa.string()),
        *REVIEWED,
    ]
)
"""One row a person's word on observations of one event: a line of JSON in `reviews/`, which only grows."""


def reviewed(observation: pa.Schema) -> pa.Schema:
    """The columns of observations beside which a person's word stands: blank where nobody looked."""
    return pa.schema([*observation, *REVIEWED])
