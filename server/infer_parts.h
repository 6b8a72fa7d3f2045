/*
 * What requests for inference over HTTP and over gRPC have in common. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_INFER_PARTS_H
#define HIPPOCAMP_SERVER_INFER_PARTS_H

#include "base/arena.h"
#include "base/buf.h"
#include "inference/fetch/request.h"
#include "wire/compress.h"
#include "wire/infer_body.h"
#include "wire/infer_reply.h"

struct response_cache;

/* Work on more bytes than that is done on an offload thread. */
#define INFER_LONG ((size_t)64 * 1024)

/* The request's entry for the output of that name, or NULL. */
const struct infer_body_output *infer_requested(const struct infer_body *body, struct bytes name);

/* May the model run on another server, or one of an ensemble's? */
bool infer_leads_on(const struct model *model);

/* The error for a request that a model of this server has made, and that leads on from here. */
enum status infer_refuse_circle(const struct model *model, struct error *error);

/* Checks what was decoded: the outputs' names, the length of the id and the parameters, and the latter's names. */
enum status infer_check(const struct infer_body *body, const struct model *model, struct error *error);

/*
 * Lists the requested outputs of the answer, in the model's order, classified where that was asked for. `outputs` has
 * room for all outputs of the model.
 */
enum status infer_choose_outputs(const struct inference_request *request, const struct infer_body *body,
				 struct infer_reply_output *outputs, size_t *count, struct error *error);

/* Returns the bytes of outputs that take time to encode: those that become text, or are classified or compressed. */
size_t infer_encoding_size(const struct inference_request *request, const struct infer_body *body, bool compresses);

/* Copies all inputs into a new block, and lets the tensors point there. NULL when memory runs out. */
struct blob *infer_move_inputs(struct infer_body *body);

/* The Cache-Status of the answer, in the arena; empty for a model without a cache. */
struct buf infer_describe_cache(const struct inference_request *request, const struct response_cache *cache,
				struct arena *arena);

/* Compresses all pieces into one, *packed. */
enum status infer_pack(enum coding coding, const struct bytes *pieces, size_t count, struct blob **packed,
		       struct error *error);

/* The error for bodies that do not fit into the budget. */
enum status infer_over_budget(size_t limit, struct error *error);

/*
 * The version to state in a response, as the server behind states it; empty: none, as it has none. `digits` has room
 * for INFER_DIGITS.
 */
#define INFER_DIGITS 24
struct bytes infer_stated_version(const struct model *model, uint8_t *digits);

#endif
