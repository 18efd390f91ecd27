// Credentials for other processes.
export { type BoughtSession, type CacheClock, type SharedSessionOptions, sharedSession } from './cache.ts';
export { type CacheKey, cacheKeyOf } from './cache-key.ts';
export { checkProfileName, type ProfileCredentials, type ProfileText, setProfile } from './credentials-file.ts';
export { targetOf } from './file-target.ts';
export { type ReplaceOptions, replaceFile } from './replace-file.ts';
