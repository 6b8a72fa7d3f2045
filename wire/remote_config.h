/*
 * The configuration of one of our models that runs on another server: what its owner wrote, completed by what that
 * server tells of its own model. On the thread that loads models.
 */
#ifndef HIPPOCAMP_WIRE_REMOTE_CONFIG_H
#define HIPPOCAMP_WIRE_REMOTE_CONFIG_H

#include "base/buf.h"
#include "base/model_config.h"

struct remote_config {
	struct bytes behind;		     /* JSON, as upstream_model_convert writes it; empty: it is not known */
	bool completes;			     /* inputs and outputs that the owner does not state are taken from there */
	bool is_cached;			     /* its answers may be cached, if the owner says so */
	const struct model_parameter *marks; /* parameters to be added */
	size_t mark_count;
};

/*
 * Completes `own`, which is to be freed as before, and writes it as JSON. Parameters of the owner's whose names begin
 * with MODEL_OWN_PARAMETER are left out.
 */
enum status remote_config_write(struct model_config *own, const struct remote_config *remote, struct buf *json,
				struct error *error);

/*
 * Appends what differs between the tensors and the batch size that the owner states and those of `behind`, as above,
 * with semicolons between. Nothing if `behind` is empty or cannot be read.
 */
void remote_config_compare(const struct model_config *own, struct bytes behind, struct buf *text);

#endif
