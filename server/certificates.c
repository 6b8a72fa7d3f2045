#include "server/certificates.h"

#include "base/log.h"

#include <stddef.h>

enum status
certificates_check(const struct tls_options *options, struct error *error)
{
	struct tls_server *tls;

	if (!options->use_ssl) {
		return STATUS_OK;
	}
	tls = tls_server_new(options, error);
	if (tls == NULL) {
		return error->status;
	}
	tls_server_free(tls);
	return STATUS_OK;
}

enum status
certificates_open(const struct tls_options *options, struct tls_server **tls, struct error *error)
{
	*tls = NULL;
	if (!options->use_ssl) {
		return STATUS_OK;
	}
	if (options->root != NULL && !options->mutual) { /* as in Triton */
		log_warning("--%s-root-cert has no effect without --%s-use-ssl-mutual: clients need no certificate",
			    options->service, options->service);
	}
	*tls = tls_server_new(options, error);
	return *tls == NULL ? error->status : STATUS_OK;
}

void
certificates_reread(struct tls_server *tls, const char *service)
{
	struct error error;

	if (tls == NULL) {
		return;
	}
	if (tls_server_reload(tls, &error) == STATUS_OK) {
		log_info("the certificates of %s have been read again", service);
	} else {
		log_error("%s; the former certificates of %s stay in use", error.text, service);
	}
}

void
certificates_follow(struct tls_server *tls, const char *service)
{
	if (tls != NULL && tls_server_changed(tls)) {
		certificates_reread(tls, service);
	}
}
