/*
 * What the server tells about itself and its models, as the JSON of Triton's HTTP endpoints. gRPC's messages are made
 * from the same JSON. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_DESCRIBE_H
#define HIPPOCAMP_SERVER_DESCRIBE_H

#include "server/server.h"

/* Reads the text of a model's version; empty: -1, the newest. Errors have Triton's texts. */
enum status read_version(struct bytes text, int64_t *version, struct error *error);

/*
 * Finds a model by its name and the text of its version; empty: the newest. Errors have Triton's texts. The model lives
 * as long as the table.
 */
enum status find_model(const struct model_table *table, struct bytes name, struct bytes version, struct model **model,
		       struct error *error);

void describe_server(const struct server_options *options, struct buf *out);

/* `table` holds the model. Lists all versions that are ready, or only the model's own, as Triton does where one was
 * asked for. */
void describe_model(const struct model_table *table, const struct model *model, bool only_version, struct buf *out);

/* The statistics of all models, if `name` is empty, or of one model, in one version or all. */
enum status describe_statistics(const struct model_table *table, struct bytes name, struct bytes version,
				struct buf *out, struct error *error);

/* An array of the repository's models. */
void describe_index(struct repository *repository, bool ready_only, struct buf *out);

#endif
