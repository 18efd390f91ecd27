import { HoldfastError } from '../../src/errors.ts';

/** The error that a function throws. It must be one of ours; throwing nothing fails the test. */
export function thrownBy(run: () => unknown): HoldfastError {
  let result: unknown;
  try {
    result = run();
  } catch (thrown) {
    if (thrown instanceof HoldfastError) return thrown;
    throw thrown;
  }
  throw new Error(`nothing was thrown, but returned: ${String(result)}`);
}

/** The error that a promise is rejected with. It must be one of ours; fulfilment fails the test. */
export async function rejectionOf(promise: Promise<unknown>): Promise<HoldfastError> {
  const [outcome] = await Promise.allSettled([promise]);
  return thrownBy(() => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}

/** All that a person or a log may see of an error: message, hint, causes, properties, stack. */
export function everythingOf(error: HoldfastError): string {
  const cause = error.cause instanceof HoldfastError ? everythingOf(error.cause) : String(error.cause);
  return [error.message, error.hint, error.stack, JSON.stringify(error), cause].join('\n');
}
