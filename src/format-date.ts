/** UTC, whole seconds, as the reference client writes them: `2026-01-01T00:00:00Z`. */
export const formatDate = (date: Date): string => date.toISOString().replace(/\.\d+Z$/, 'Z');
