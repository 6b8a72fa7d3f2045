#include "base/openssl.h"

#include <openssl/err.h>
#include <openssl/x509err.h>
#include <string.h>

const char *
openssl_reason(unsigned long code)
{
	const char *text = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);

	return text == NULL ? "no reason given" : text;
}

bool
openssl_is_key_mismatch(unsigned long code)
{
	return ERR_GET_LIB(code) == ERR_LIB_X509 &&
	       (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH || ERR_GET_REASON(code) == X509_R_KEY_TYPE_MISMATCH);
}

int
openssl_no_password(char *password, int size, int writing, void *argument)
{
	(void)password;
	(void)size;
	(void)writing;
	(void)argument;
	return -1;
}
