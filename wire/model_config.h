/*
 * A model's config.pbtxt: protobuf text format (or its JSON mapping, as load requests carry it) into the plain struct
 * that the rest of the program uses, and the completed config back into JSON.
 *
 * A config is read on the thread that loads models, and read-only from then on.
 */
#ifndef HIPPOCAMP_WIRE_MODEL_CONFIG_H
#define HIPPOCAMP_WIRE_MODEL_CONFIG_H

#include "base/buf.h"
#include "base/model_config.h"

/* Errors in a file name file, line and column. An empty text is an empty config. */
enum status model_config_parse_text(struct bytes text, const char *file, struct model_config *config,
				    struct error *error);
enum status model_config_parse_json(struct bytes text, struct model_config *config, struct error *error);

/*
 * Brings what auto-completion changed in the plain struct into the document, so that model_config_print shows it.
 * Once, before other threads see the config.
 */
enum status model_config_completed(struct model_config *config, struct error *error);

/* The whole config as Triton's model configuration endpoint prints it. */
void model_config_print(const struct model_config *config, struct buf *out);

#endif
