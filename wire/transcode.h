/*
 * The KServe v2 protocol and Triton's extensions, over HTTP, of a server that is known by its gRPC alone: each request
 * becomes the call of gRPC that means the same, and its response the one that HTTP would have given (as gRPC-JSON
 * transcoding does for services that state their paths).
 *
 * What gRPC has no counterpart for fails with STATUS_UNSUPPORTED: endpoints such as generate and metrics, and members
 * of an inference that are not known here, since leaving them out could change the answer. What a server tells of its
 * models in fields that are not known here is left out.
 */
#ifndef HIPPOCAMP_WIRE_TRANSCODE_H
#define HIPPOCAMP_WIRE_TRANSCODE_H

#include "base/arena.h"
#include "base/buf.h"
#include "wire/http1.h"
#include "wire/infer_body.h"

struct transcode_endpoint;

struct transcoding {
	const char *method;   /* the path of the call's method */
	struct bytes *pieces; /* the call's message, with its prefix; views into the body, too */
	size_t piece_count;

	/* Private. */
	const struct transcode_endpoint *endpoint;
	struct arena arena;
	struct buf message;
	struct buf framing;	/* what stands before the message's raw contents */
	struct infer_body body; /* of an inference */
	struct buf unpacked;	/* the request's body, if it came compressed */
	struct buf json;	/* of the response */
};

/* Bodies that came compressed may have `max_unpacked` bytes. */
void transcoding_init(struct transcoding *transcoding, size_t max_unpacked);
void transcoding_fini(struct transcoding *transcoding);

/*
 * `head` and `body` outlive the pieces, but not what is needed for the response. error->http is the status to refuse
 * the request with; 0: that of `status`.
 */
enum status transcode_request(struct transcoding *transcoding, const struct http1_head *head, struct bytes body,
			      struct error *error);

/* Bytes of memory that the transcoding takes. */
size_t transcoding_memory(const struct transcoding *transcoding);

/* A response of HTTP: a JSON, if any, then the data of binary tensors. */
struct transcoded {
	int status;
	struct bytes *pieces;
	size_t piece_count;
	size_t length; /* of all pieces */
	size_t json_length;
	const char *content_type;
	bool is_binary; /* it has binary tensors: the length of the JSON is to be stated */
};

/*
 * Makes it of the message of the call's response, which outlives it. Fails with STATUS_INVALID_ARGUMENT if JSON cannot
 * have what the request asked for in JSON, and with others if the message is none of the protocol.
 */
enum status transcode_response(struct transcoding *transcoding, struct bytes message, struct transcoded *response,
			       struct error *error);

/* Makes one of a failure, with {"error": "…"}; bytes of `text` that are no UTF-8 become question marks. */
void transcode_failure(struct transcoding *transcoding, int status, struct bytes text, struct transcoded *response);

#endif
