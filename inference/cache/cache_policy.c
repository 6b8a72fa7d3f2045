#include "inference/cache/cache_policy.h"

#include "base/memory.h"

#include <stdlib.h>

#define AT(field) offsetof(struct cache_policy, field)
#define PREFIX "response_cache."
#define YEARS_10 315360000

static const char *const admissions[] = {"always", "auto", NULL};
static const char *const granularities[] = {"auto", "row", "request", NULL};

#define COMMON_OPTIONS                                                                                                 \
	{.name = "ttl",                                                                                                \
	 .kind = OPTION_INTEGER,                                                                                       \
	 .offset = AT(ttl_s),                                                                                          \
	 .preset = "-1",                                                                                               \
	 .minimum = -1,                                                                                                \
	 .maximum = YEARS_10,                                                                                          \
	 .unit = "s",                                                                                                  \
	 .help = "life of an entry, varied by a tenth; 0: no end. Default: 0 for local, one day for redis and "        \
		 "tiered"},                                                                                            \
		{.name = "stale_while_revalidate",                                                                     \
		 .kind = OPTION_INTEGER,                                                                               \
		 .offset = AT(stale_while_revalidate_s),                                                               \
		 .preset = "0",                                                                                        \
		 .maximum = YEARS_10,                                                                                  \
		 .unit = "s",                                                                                          \
		 .help = "an entry that expired at most so long ago is served at once, and renewed in the "            \
			 "background"},                                                                                \
		{.name = "stale_if_error",                                                                             \
		 .kind = OPTION_INTEGER,                                                                               \
		 .offset = AT(stale_if_error_s),                                                                       \
		 .preset = "0",                                                                                        \
		 .maximum = YEARS_10,                                                                                  \
		 .unit = "s",                                                                                          \
		 .help = "an entry that expired at most so long ago is served where the model fails"},                 \
		{.name = "refresh_ahead",                                                                              \
		 .kind = OPTION_NUMBER,                                                                                \
		 .offset = AT(refresh_ahead),                                                                          \
		 .preset = "0",                                                                                        \
		 .maximum = 1000000,                                                                                   \
		 .help = "renew entries in the background before they expire, earlier the more they cost: the beta "   \
			 "of XFetch, usually 1; 0: off"},                                                              \
		{.name = "admission",                                                                                  \
		 .kind = OPTION_CHOICE,                                                                                \
		 .offset = AT(admission),                                                                              \
		 .preset = "always",                                                                                   \
		 .choices = admissions,                                                                                \
		 .help = "always; or auto: skip the cache for models that run faster than it answers"},                \
		{.name = "audit",                                                                                      \
		 .kind = OPTION_INTEGER,                                                                               \
		 .offset = AT(audit),                                                                                  \
		 .preset = "8",                                                                                        \
		 .maximum = 1000000,                                                                                   \
		 .help = "of so many of the first answers that are put together out of rows, and of a few later ones " \
			 "(at most a hundredth of the model's time), it is checked that they are what the model "      \
			 "says without the neighbours; 0: of none"},                                                   \
	{                                                                                                              \
		.name = "audit_tolerance", .kind = OPTION_NUMBER, .offset = AT(audit_tolerance), .preset = "0.001",    \
		.maximum = 1,                                                                                          \
		.help = "how far each number may be off, as a part of itself, and a fiftieth of that of the largest "  \
			"number of the output"                                                                         \
	}

static const struct option cache_options[] = {COMMON_OPTIONS};

static const struct option model_options[] = {
	COMMON_OPTIONS,
	{.name = "granularity",
	 .kind = OPTION_CHOICE,
	 .offset = AT(granularity),
	 .preset = "auto",
	 .choices = granularities,
	 .help = "row: each row of a batch is an entry; request: the whole batch is; auto: row where the config states "
		 "max_batch_size or dynamic_batching"},
};

const struct option_table cache_policy_options = {cache_options, sizeof(cache_options) / sizeof(*cache_options)};
static const struct option_table model_table = {model_options, sizeof(model_options) / sizeof(*model_options)};

bool
cache_policy_is_parameter(struct bytes name)
{
	return name.length >= sizeof(PREFIX) - 1 && memcmp(name.at, PREFIX, sizeof(PREFIX) - 1) == 0;
}

static enum status
unknown_parameter(struct bytes name, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "unknown parameter '%.*s'; there are " PREFIX "ttl, " PREFIX "stale_while_revalidate, " PREFIX
			 "stale_if_error, " PREFIX "refresh_ahead, " PREFIX "admission, " PREFIX "audit, " PREFIX
			 "audit_tolerance and " PREFIX "granularity",
			 BYTES_ARGS(name));
}

enum status
cache_policy_read(const struct model_config *config, struct cache_policy *policy, struct error *error)
{
	for (size_t i = 0; i < config->parameter_count; i++) {
		const struct model_parameter *parameter = &config->parameters[i];
		const struct option *option;

		if (!cache_policy_is_parameter(parameter->name)) {
			continue;
		}
		option = option_find(model_table, bytes_skip(parameter->name, sizeof(PREFIX) - 1));
		if (option == NULL) {
			return unknown_parameter(parameter->name, error);
		}
		/* The config's texts end with a NUL. */
		if (option_set(option, policy, (const char *)parameter->value.at, error) != STATUS_OK) {
			return error_prefix(error, "parameter '%.*s': ", BYTES_ARGS(parameter->name));
		}
	}
	return STATUS_OK;
}

struct freshness_policy
cache_policy_freshness(const struct cache_policy *policy)
{
	return (struct freshness_policy){
		.ttl_ms = policy->ttl_s <= 0 ? 0 : (uint64_t)policy->ttl_s * 1000,
		.revalidate_ms = (uint64_t)policy->stale_while_revalidate_s * 1000,
		.on_error_ms = (uint64_t)policy->stale_if_error_s * 1000,
		.refresh_ahead = policy->refresh_ahead,
	};
}
