/*
 * A PKCS#11 module that stands before another one and does what tests cannot have of a real token: it is slow, fails on
 * demand, shows PIN flags, counts tries and locks, or disappears. It also counts calls, over all processes that use it.
 *
 *   cc -shared -fPIC -O2 -I node_modules/pkcs11js/includes/pkcs11 -o fault.so fault.c -ldl
 *
 * FAULT_MODULE  path of the module behind
 * FAULT_RULES   a file, read again at every call; a line for each rule, lines that begin with "#" are none:
 *     C_Sign rv=0x30 delay=500 after=2 count=1   from the third call on, once: wait 500 ms, then answer 0x30.
 *                                                Without rv the call is slow but good; without count, for ever
 *     token or=0x100 clear=0x4                   sets and clears flags of every token
 *     mechanisms only=0x1,0x1041                 C_GetMechanismList shows no others, C_SignInit takes no others
 *     tries 3                                    like a card: so many wrong PINs, with their flags, then it is locked
 *     absent                                     no slot has a token
 *     stranger                                   the library says that it is somebody else's
 *     maker OpenSC                               the library says that it is OpenSC's
 * FAULT_STATE   a file of at least SIZE octets, shared by all: wrong PINs so far, then for each function its name and the
 *               number of calls that came, and of those that went on to the module behind
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkcs11.h"

#define FUNCTIONS 64

struct counter {
  char name[32];
  uint64_t came;
  uint64_t passed;
};

struct state {
  uint64_t wrong_pins;
  struct counter counters[FUNCTIONS];
};

/** What the rules say of one call. */
struct verdict {
  int fails;
  CK_RV rv;
};

static CK_FUNCTION_LIST_PTR behind;
static CK_FUNCTION_LIST shown;
static struct state *state;
static struct state own;

static void open_state(void) {
  const char *path = getenv("FAULT_STATE");
  int fd = path ? open(path, O_RDWR) : -1;
  void *shared = fd < 0 ? MAP_FAILED : mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  state = shared == MAP_FAILED ? &own : shared;
}

/* Each function has its place in the table, so that two processes never write two names into one. */
static struct counter *counter_of(int place, const char *name) {
  struct counter *counter = &state->counters[place];
  if (!counter->name[0]) strncpy(counter->name, name, sizeof counter->name - 1);
  return counter;
}

static unsigned long number_in(const char *line, const char *key, unsigned long otherwise) {
  const char *at = strstr(line, key);
  return at ? strtoul(at + strlen(key), 0, 0) : otherwise;
}

/* The next rule that begins with this word; 0 at the end. */
static int next_rule(FILE *rules, const char *word, char *line, int size) {
  size_t length = strlen(word);
  while (fgets(line, size, rules))
    if (!strncmp(line, word, length) && strchr(" \n", line[length])) return 1;
  return 0;
}

static FILE *open_rules(void) {
  const char *path = getenv("FAULT_RULES");
  return path ? fopen(path, "re") : 0;
}

static int has_rule(const char *word, char *line, int size) {
  FILE *rules = open_rules();
  if (!rules) return 0;
  int found = next_rule(rules, word, line, size);
  fclose(rules);
  return found;
}

static struct verdict judge(int place, const char *name) {
  struct verdict verdict = {0, CKR_OK};
  unsigned long before = __sync_fetch_and_add(&counter_of(place, name)->came, 1);
  FILE *rules = open_rules();
  char line[256];
  unsigned long delay = 0;
  while (rules && next_rule(rules, name, line, sizeof line)) {
    unsigned long after = number_in(line, "after=", 0);
    if (before < after || before - after >= number_in(line, "count=", ~0UL)) continue;
    delay += number_in(line, "delay=", 0);
    if (!strstr(line, "rv=")) continue;
    verdict.fails = 1;
    verdict.rv = number_in(line, "rv=", CKR_OK);
  }
  if (rules) fclose(rules);
  if (delay) usleep(delay * 1000);
  if (!verdict.fails) __sync_fetch_and_add(&counter_of(place, name)->passed, 1);
  return verdict;
}

/* A function that is counted and may fail, and else is the one behind. */
#define FORWARD(place, name, parameters, arguments)         \
  static CK_RV fault_##name parameters {                    \
    struct verdict verdict = judge(place, #name);           \
    return verdict.fails ? verdict.rv : behind->name arguments; \
  }

FORWARD(0, C_Initialize, (CK_VOID_PTR args), (args))
FORWARD(1, C_Finalize, (CK_VOID_PTR reserved), (reserved))
FORWARD(2, C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO_PTR info), (slot, info))
FORWARD(3, C_OpenSession,
        (CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify, CK_SESSION_HANDLE_PTR session),
        (slot, flags, application, notify, session))
FORWARD(4, C_CloseSession, (CK_SESSION_HANDLE session), (session))
FORWARD(5, C_CloseAllSessions, (CK_SLOT_ID slot), (slot))
FORWARD(6, C_Logout, (CK_SESSION_HANDLE session), (session))
FORWARD(7, C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count),
        (session, template, count))
FORWARD(8, C_FindObjects,
        (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE_PTR objects, CK_ULONG most, CK_ULONG_PTR count),
        (session, objects, most, count))
FORWARD(9, C_FindObjectsFinal, (CK_SESSION_HANDLE session), (session))
FORWARD(10, C_GetAttributeValue,
        (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template, CK_ULONG count),
        (session, object, template, count))
FORWARD(11, C_Sign,
        (CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG length, CK_BYTE_PTR signature, CK_ULONG_PTR written),
        (session, data, length, signature, written))
FORWARD(12, C_CreateObject,
        (CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count, CK_OBJECT_HANDLE_PTR object),
        (session, template, count, object))
FORWARD(13, C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))

static CK_RV fault_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count) {
  char line[256];
  struct verdict verdict = judge(14, "C_GetSlotList");
  if (verdict.fails) return verdict.rv;
  if (!present || !has_rule("absent", line, sizeof line)) return behind->C_GetSlotList(present, slots, count);
  *count = 0;
  return CKR_OK;
}

static CK_RV fault_C_GetInfo(CK_INFO_PTR info) {
  char line[256];
  struct verdict verdict = judge(19, "C_GetInfo");
  if (verdict.fails) return verdict.rv;
  CK_RV rv = behind->C_GetInfo(info);
  if (rv == CKR_OK && has_rule("maker", line, sizeof line)) {
    memset(info->manufacturerID, ' ', sizeof info->manufacturerID);
    for (char *from = line + 6, *to = (char *)info->manufacturerID; *from && *from != '\n'; from += 1) *to++ = *from;
  }
  if (rv == CKR_OK && has_rule("stranger", line, sizeof line)) memset(info->manufacturerID, '?', sizeof info->manufacturerID);
  return rv;
}

/* Allowed wrong PINs; 0 when nobody counts them. */
static unsigned long tries_allowed(void) {
  char line[256];
  return has_rule("tries", line, sizeof line) ? number_in(line, "tries ", 3) : 0;
}

static CK_RV fault_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info) {
  char line[256];
  struct verdict verdict = judge(15, "C_GetTokenInfo");
  if (verdict.fails) return verdict.rv;
  if (has_rule("absent", line, sizeof line)) return CKR_TOKEN_NOT_PRESENT;
  CK_RV rv = behind->C_GetTokenInfo(slot, info);
  if (rv != CKR_OK) return rv;
  unsigned long tries = tries_allowed();
  if (tries) {
    info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
    if (state->wrong_pins > 0) info->flags |= CKF_USER_PIN_COUNT_LOW;
    if (state->wrong_pins + 1 == tries) info->flags |= CKF_USER_PIN_FINAL_TRY;
    if (state->wrong_pins >= tries) info->flags |= CKF_USER_PIN_LOCKED;
  }
  if (has_rule("token", line, sizeof line)) {
    info->flags |= number_in(line, "or=", 0);
    info->flags &= ~number_in(line, "clear=", 0);
  }
  return CKR_OK;
}

static CK_RV fault_C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG length) {
  struct verdict verdict = judge(16, "C_Login");
  if (verdict.fails) return verdict.rv;
  unsigned long tries = tries_allowed();
  if (tries && user != CKU_SO && state->wrong_pins >= tries) return CKR_PIN_LOCKED;
  CK_RV rv = behind->C_Login(session, user, pin, length);
  if (tries && user != CKU_SO && rv == CKR_PIN_INCORRECT) __sync_fetch_and_add(&state->wrong_pins, 1);
  if (tries && user != CKU_SO && rv == CKR_OK) state->wrong_pins = 0;
  return rv;
}

/* Whether a rule leaves this mechanism. */
static int is_left(CK_MECHANISM_TYPE type) {
  char line[256];
  if (!has_rule("mechanisms", line, sizeof line)) return 1;
  char *at = strstr(line, "only=");
  if (!at) return 1;
  for (at += 5; *at && *at != '\n';) {
    char *end;
    if (strtoul(at, &end, 0) == type && end != at) return 1;
    at = *end == ',' ? end + 1 : end;
    if (end == at && *at != '\n' && *at) break;
  }
  return 0;
}

static CK_RV fault_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR types, CK_ULONG_PTR count) {
  struct verdict verdict = judge(17, "C_GetMechanismList");
  if (verdict.fails) return verdict.rv;
  CK_RV rv = behind->C_GetMechanismList(slot, types, count);
  if (rv != CKR_OK || !types) return rv;
  CK_ULONG kept = 0;
  for (CK_ULONG i = 0; i < *count; i += 1)
    if (is_left(types[i])) types[kept++] = types[i];
  *count = kept;
  return CKR_OK;
}

static CK_RV fault_C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  struct verdict verdict = judge(18, "C_SignInit");
  if (verdict.fails) return verdict.rv;
  if (!is_left(mechanism->mechanism)) return CKR_MECHANISM_INVALID;
  return behind->C_SignInit(session, mechanism, key);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
  if (!behind) {
    const char *path = getenv("FAULT_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : 0;
    CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : 0;
    if (!get || get(&behind) != CKR_OK) {
      fprintf(stderr, "fault.so: FAULT_MODULE names no module that can be loaded\n");
      behind = 0;
      return CKR_GENERAL_ERROR;
    }
    open_state();
    shown = *behind;
#define SHOW(name) shown.name = fault_##name
    SHOW(C_Initialize);
    SHOW(C_Finalize);
    SHOW(C_GetSlotInfo);
    SHOW(C_OpenSession);
    SHOW(C_CloseSession);
    SHOW(C_CloseAllSessions);
    SHOW(C_Logout);
    SHOW(C_FindObjectsInit);
    SHOW(C_FindObjects);
    SHOW(C_FindObjectsFinal);
    SHOW(C_GetAttributeValue);
    SHOW(C_Sign);
    SHOW(C_CreateObject);
    SHOW(C_DestroyObject);
    SHOW(C_GetInfo);
    SHOW(C_GetSlotList);
    SHOW(C_GetTokenInfo);
    SHOW(C_Login);
    SHOW(C_GetMechanismList);
    SHOW(C_SignInit);
    shown.C_GetFunctionList = C_GetFunctionList;
  }
  *list = &shown;
  return CKR_OK;
}
