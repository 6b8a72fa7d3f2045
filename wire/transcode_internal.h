/* What the files of transcode.h ask of each other. */
#ifndef HIPPOCAMP_WIRE_TRANSCODE_INTERNAL_H
#define HIPPOCAMP_WIRE_TRANSCODE_INTERNAL_H

#include "wire/transcode.h"

/* What the path of a request names; empty: nothing. */
struct transcode_path {
	struct bytes model;
	struct bytes version;
	struct bytes repository;
};

/* An inference: appends all that precedes the first raw content to `message`, and makes the pieces behind it. */
enum status transcode_infer_request(struct transcoding *transcoding, const struct transcode_path *path,
				    const struct http1_head *head, struct bytes body, struct error *error);
enum status transcode_infer_response(struct transcoding *transcoding, struct bytes message, struct transcoded *response,
				     struct error *error);

/* The response has one piece, the JSON. */
enum status transcode_json(struct transcoding *transcoding, struct transcoded *response, struct error *error);

#endif
