#include "backends/upstream/upstream.h"

#include "base/memory.h"

#include <stdlib.h>

struct backend_model {
	char nothing;
};

static const char *
version(struct error *error)
{
	(void)error;
	return "upstream 2";
}

static struct backend_model *
open_model(struct backend_files *files, const struct model_config *config, struct error *error)
{
	(void)files;
	(void)config;
	(void)error;
	return memory_new(sizeof(struct backend_model));
}

static void
close_model(struct backend_model *model)
{
	free(model);
}

const struct backend_ops backend_upstream_ops = {
	.name = "upstream",
	.version = version,
	.open = open_model,
	.close = close_model,
	.default_instance_count = 1,
};
