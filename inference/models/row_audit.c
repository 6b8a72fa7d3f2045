#include "inference/models/row_audit.h"

#include "inference/cache/entry.h"

#include <math.h>
#include <stdio.h>

struct bytes
row_audit_row(const struct tensor *tensor, struct bytes data, int64_t row)
{
	struct bytes rest = bytes_skip(data, tensor_rows_length(tensor, data, row));

	return bytes_make(rest.at, tensor_rows_length(tensor, rest, 1));
}

/* The caller provides memory for the shape. */
static struct tensor
take_row(struct tensor tensor, int64_t row, int64_t *shape)
{
	tensor.data = row_audit_row(&tensor, tensor.data, row);
	memcpy(shape, tensor.shape, tensor.rank * sizeof(*shape));
	shape[0] = 1;
	tensor.shape = shape;
	return tensor;
}

static struct row_difference
compare(const struct blob *expected, const struct blob *got, int64_t row, const double *scales, double tolerance)
{
	int64_t shape[TENSOR_RANK_MAX];
	struct row_difference difference = {0};
	size_t count = entry_output_count(expected);

	for (size_t i = 0; i < count && entry_output_count(got) == count; i++) {
		struct tensor left = entry_output(expected, i);
		struct tensor right = entry_output(got, i);
		double scale = scales == NULL ? row_scale(&right) : scales[i];

		if (row >= 0) {
			right = take_row(right, row, shape);
		}
		if (!bytes_equal(left.content_type, right.content_type)) {
			difference.excess = INFINITY;
		}
		row_difference_add(&difference, i, &left, &right, fmax(scale, row_scale(&left)), tolerance);
	}
	if (entry_output_count(got) != count) {
		difference.excess = INFINITY;
	}
	return difference;
}

void
row_audit_raise(double *scales, const struct blob *entry)
{
	for (size_t i = 0; i < entry_output_count(entry); i++) {
		struct tensor output = entry_output(entry, i);

		scales[i] = fmax(scales[i], row_scale(&output));
	}
}

bool
row_audit_passes(struct model *model, const struct blob *expected, const struct blob *got, int64_t row,
		 const double *scales, uint64_t ns)
{
	struct row_difference difference = compare(expected, got, row, scales, model->rows.tolerance);
	struct bytes name = model->config.outputs[difference.output].name;
	char evidence[512];

	if (!row_trust_count_audit(&model->rows, &difference, ns)) {
		return true;
	}
	if (isfinite(difference.excess)) {
		(void)snprintf(
			evidence, sizeof(evidence),
			"output '%.*s' of a row has %.7g where it is %.7g when it runs without its neighbours, %.3g "
			"times what response_cache.audit_tolerance (%g) lets pass",
			BYTES_ARGS(name), difference.got, difference.expected, difference.excess,
			model->rows.tolerance);
	} else {
		(void)snprintf(evidence, sizeof(evidence),
			       "output '%.*s' of a row is another one when it runs without its neighbours",
			       BYTES_ARGS(name));
	}
	model_lose_row_trust(model, ROWS_DEPENDENT, evidence);
	return false;
}
