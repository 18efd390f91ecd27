/*
 * What p11-kit's own parser makes of URIs: one per line on stdin, a line of tab-separated name=hex for each on stdout,
 * or "error N". Values lose the blanks that pad them. Built by test/helpers/p11-uri.ts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

static void put(const char *name, const unsigned char *bytes, size_t length)
{
	printf("\t%s=", name);
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
}

/* A field that was not given begins with a NUL. */
static void put_field(const char *name, const unsigned char *field, size_t size)
{
	if (field[0] == 0)
		return;
	while (size > 0 && field[size - 1] == ' ')
		size--;
	put(name, field, size);
}

static void put_text(const char *name, const char *text)
{
	if (text)
		put(name, (const unsigned char *)text, strlen(text));
}

static void put_attribute(const char *name, P11KitUri *uri, CK_ATTRIBUTE_TYPE type)
{
	CK_ATTRIBUTE *attribute = p11_kit_uri_get_attribute(uri, type);
	if (attribute)
		put(name, attribute->pValue, attribute->ulValueLen);
}

static void put_number(const char *name, unsigned long number)
{
	char text[32];
	snprintf(text, sizeof text, "%lu", number);
	put_text(name, text);
}

static void put_uri(P11KitUri *uri)
{
	CK_INFO *library = p11_kit_uri_get_module_info(uri);
	CK_SLOT_INFO *slot = p11_kit_uri_get_slot_info(uri);
	CK_TOKEN_INFO *token = p11_kit_uri_get_token_info(uri);
	CK_SLOT_ID id = p11_kit_uri_get_slot_id(uri);
	CK_ATTRIBUTE *class = p11_kit_uri_get_attribute(uri, CKA_CLASS);

	printf("ok");
	put_field("token", token->label, sizeof token->label);
	put_field("manufacturer", token->manufacturerID, sizeof token->manufacturerID);
	put_field("serial", token->serialNumber, sizeof token->serialNumber);
	put_field("model", token->model, sizeof token->model);
	put_field("library-manufacturer", library->manufacturerID, sizeof library->manufacturerID);
	put_field("library-description", library->libraryDescription, sizeof library->libraryDescription);
	if (library->libraryVersion.major != (CK_BYTE)-1 || library->libraryVersion.minor != (CK_BYTE)-1) {
		char text[16];
		snprintf(text, sizeof text, "%d.%d", library->libraryVersion.major, library->libraryVersion.minor);
		put_text("library-version", text);
	}
	put_field("slot-manufacturer", slot->manufacturerID, sizeof slot->manufacturerID);
	put_field("slot-description", slot->slotDescription, sizeof slot->slotDescription);
	if (id != (CK_SLOT_ID)-1)
		put_number("slot-id", id);
	put_attribute("object", uri, CKA_LABEL);
	put_attribute("id", uri, CKA_ID);
	if (class)
		put_number("type", *(CK_OBJECT_CLASS *)class->pValue);
	put_text("pin-value", p11_kit_uri_get_pin_value(uri));
	put_text("pin-source", p11_kit_uri_get_pin_source(uri));
	put_text("module-name", p11_kit_uri_get_module_name(uri));
	put_text("module-path", p11_kit_uri_get_module_path(uri));
	put_text("x-init-reserved", p11_kit_uri_get_vendor_query(uri, "x-init-reserved"));
	if (p11_kit_uri_any_unrecognized(uri))
		printf("\tunrecognized=");
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	while ((length = getline(&line, &size, stdin)) >= 0) {
		P11KitUri *uri = p11_kit_uri_new();
		int result;

		if (!uri)
			return 1;
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = 0;
		result = p11_kit_uri_parse(line, P11_KIT_URI_FOR_ANY, uri);
		if (result == P11_KIT_URI_OK)
			put_uri(uri);
		else
			printf("error %d", result);
		printf("\n");
		p11_kit_uri_free(uri);
	}
	free(line);
	return 0;
}
