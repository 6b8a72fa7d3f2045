/*
 * In front of another server: which inference requests the cache may answer. All others pass through. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_FRONT_H
#define HIPPOCAMP_SERVER_FRONT_H

#include "grpc/grpc.h"
#include "server/exchange.h"
#include "wire/infer_body.h"

/* Has it no authorization, or does the owner say that answers may be shared all the same? */
bool front_is_admitted(const struct exchange *exchange);

/* To judge by its head: it has no query, no coding that we do not know, and nothing twice. */
bool front_understands_head(const struct exchange *exchange);

/* Has the request no query, and no field with authorization? */
bool front_is_anonymous(const struct exchange *exchange);

/* To judge by its body: nothing in it is unknown to us, and it belongs to no sequence. Before infer_body_detach. */
bool front_understands(const struct server_options *options, const struct infer_body *body);

/*
 * Is it clear which version answers a request to the model? Which of several answers one that names none, and any that
 * names one where there is none, is for the server behind to say. `version` is the one that it names; empty: none.
 */
bool front_knows_version(const struct model *model, const struct model_table *table, struct bytes version);

/* Adds the fields that go along with a miss, with authorization or of a trace, to the parameters (inference/remote.h).
 * False: no memory. */
bool front_add_fields(struct exchange *exchange, struct infer_body *body);

/*
 * Of a request to a model that runs on another server: adds what it has come through (Via) to the parameters, too, and
 * sets *is_of_a_model (upstream/via.h). False: no memory.
 */
bool front_add_via(struct exchange *exchange, struct infer_body *body, bool *is_of_a_model);

/* Has the run of a model here made the request, whose address leads back? */
bool front_comes_back(const struct exchange *exchange);

/* --- gRPC --- */

/* The metadata of a call that go along with a miss: with authorization, or of a trace. */
struct front_fields {
	struct grpc_metadata *list;
	size_t count;
};

/* To judge by the call's metadata, as front_is_admitted. Copies those that go along into `fields`: a
 * request may outlive its call. */
bool front_admits_metadata(const struct server_options *options, const struct grpc_call *call, struct arena *arena,
			   struct front_fields *fields);

/* Has the call no metadata with authorization? */
bool front_is_anonymous_call(const struct server_options *options, const struct grpc_call *call);

/* To judge by the parameters, as front_understands. */
bool front_understands_parameters(const struct server_options *options, const struct infer_body *body);

/*
 * Of a call to a model that may run on another server: copies what it has come through into `via`, for
 * front_add_metadata. False: no memory.
 */
bool front_read_via(const struct grpc_call *call, struct arena *arena, struct front_fields *via);

/* As front_comes_back; and has a model here, or of another server of ours, made the request? */
bool front_via_is_own(struct front_fields via);
bool front_via_is_of_a_model(struct front_fields via);

/* Adds the fields to the parameters, as front_add_fields. */
bool front_add_metadata(const struct server_options *options, struct front_fields fields, struct arena *arena,
			struct infer_body *body);

/* --- Models --- */

/*
 * A request to load or unload a model passes through: until it is known which models the server behind has now, all
 * requests to them do.
 */
void front_suspend_models(struct server_lane *lane);

/*
 * The client of such a request has left, for which the server behind may go on: counts it in lane->abandoned_count,
 * from which its owner takes it at its end. False: it is to be cancelled, since there are too many, or the lane stops.
 */
bool front_abandon_control(struct server_lane *lane);

/* What the failure of one replica ends with if others have loaded or unloaded the model. */
#define FRONT_PARTLY_DONE "; other replicas have done it: repeat it until all have"

#endif
