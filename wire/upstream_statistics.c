#include "wire/upstream_statistics.h"

#include "wire/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Adds to a number of an object; makes it where it is missing. False: what is there is no number. */
static bool
add_number(yyjson_mut_doc *document, yyjson_mut_val *object, const char *name, uint64_t amount)
{
	yyjson_mut_val *value = yyjson_mut_obj_get(object, name);

	if (value == NULL) {
		return yyjson_mut_obj_add_uint(document, object, name, amount);
	}
	return yyjson_mut_is_uint(value) && yyjson_mut_set_uint(value, yyjson_mut_get_uint(value) + amount);
}

static bool
add_duration(yyjson_mut_doc *document, yyjson_mut_val *durations, const char *name, uint64_t count, uint64_t ns)
{
	yyjson_mut_val *duration = yyjson_mut_obj_get(durations, name);

	if (duration == NULL) {
		duration = yyjson_mut_obj_add_obj(document, durations, name);
	}
	return yyjson_mut_is_obj(duration) && add_number(document, duration, "count", count) &&
	       add_number(document, duration, "ns", ns);
}

/* Does the server behind count hits and misses of a cache of its own? Then our misses are among them. */
static bool
has_cache(yyjson_mut_val *durations)
{
	static const char *const names[] = {"cache_hit", "cache_miss"};
	uint64_t count = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		count += yyjson_mut_get_uint(yyjson_mut_obj_get(yyjson_mut_obj_get(durations, names[i]), "count"));
	}
	return count > 0;
}

static bool
add_answers(yyjson_mut_doc *document, yyjson_mut_val *model, const struct cached_answers *answers)
{
	yyjson_mut_val *durations = yyjson_mut_obj_get(model, "inference_stats");
	yyjson_mut_val *last = yyjson_mut_obj_get(model, "last_inference");
	bool adds_misses = !has_cache(durations);

	if (yyjson_mut_is_uint(last) && yyjson_mut_get_uint(last) < answers->last_ms) {
		(void)yyjson_mut_set_uint(last, answers->last_ms);
	}
	return yyjson_mut_is_obj(durations) &&
	       add_duration(document, durations, "success", answers->hits, answers->hit_ns) &&
	       add_duration(document, durations, "queue", answers->hits, 0) &&
	       add_duration(document, durations, "cache_hit", answers->hits, answers->hit_ns) &&
	       add_duration(document, durations, "cache_miss", adds_misses ? answers->misses : 0,
			    adds_misses ? answers->miss_ns : 0);
}

static bool
is_version(yyjson_mut_val *version, int64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, number);
	return yyjson_mut_equals_str(version, text);
}

static const struct cached_answers *
answers_of(yyjson_mut_val *model, const struct cached_answers *answers, size_t count)
{
	yyjson_mut_val *name = yyjson_mut_obj_get(model, "name");

	for (size_t i = 0; i < count; i++) {
		if (yyjson_mut_equals_strn(name, (const char *)answers[i].name.at, answers[i].name.length) &&
		    is_version(yyjson_mut_obj_get(model, "version"), answers[i].version)) {
			return &answers[i];
		}
	}
	return NULL;
}

static bool
add_all(yyjson_mut_doc *document, const struct cached_answers *answers, size_t count)
{
	yyjson_mut_val *models = yyjson_mut_obj_get(yyjson_mut_doc_get_root(document), "model_stats");
	yyjson_mut_arr_iter items;
	yyjson_mut_val *model;

	if (!yyjson_mut_arr_iter_init(models, &items)) {
		return false;
	}
	while ((model = yyjson_mut_arr_iter_next(&items)) != NULL) {
		const struct cached_answers *found = answers_of(model, answers, count);

		if (found != NULL && !add_answers(document, model, found)) {
			return false;
		}
	}
	return true;
}

bool
upstream_statistics_add(struct bytes json, const struct cached_answers *answers, size_t count, struct buf *out)
{
	struct error unused;
	yyjson_doc *read = json_read(json, &unused);
	yyjson_mut_doc *document = read == NULL ? NULL : yyjson_doc_mut_copy(read, NULL);
	bool good = document != NULL && add_all(document, answers, count);
	size_t length = 0;
	char *text = good ? yyjson_mut_write(document, 0, &length) : NULL;

	if (text != NULL) {
		buf_append(out, bytes_make(text, length));
	}
	free(text);
	yyjson_mut_doc_free(document);
	yyjson_doc_free(read);
	return text != NULL && buf_ok(out);
}
