/*
 * Parses a model's configuration, as protobuf text (config.pbtxt) or its JSON mapping (in load requests), into the
 * struct of base/model_config.h, and prints the completed configuration as JSON.
 *
 * The thread that loads models parses a configuration, which is read-only afterwards.
 */
#ifndef HIPPOCAMP_WIRE_MODEL_CONFIG_H
#define HIPPOCAMP_WIRE_MODEL_CONFIG_H

#include "base/buf.h"
#include "base/model_config.h"

/* Messages give `file`, line and column. An empty text is an empty config. Free by model_config_fini. */
enum status model_config_parse_text(struct bytes text, const char *file, struct model_config *config,
				    struct error *error);
enum status model_config_parse_json(struct bytes text, struct model_config *config, struct error *error);

/*
 * Writes the results of auto-completion from the struct to the document, so that model_config_print shows them. Call
 * once, before other threads see the config.
 */
enum status model_config_completed(struct model_config *config, struct error *error);

/* Prints the whole config as Triton's model configuration endpoint does. */
void model_config_print(const struct model_config *config, struct buf *out);

#endif
