// Completes package-lock.json after `npm install` on a registry that does not carry the prebuilt packages of other
// platforms: npm then leaves them out of the lock file, and `npm ci`, which compares it with every package's
// optionalDependencies, refuses it everywhere. Written in as npm would, they are skipped where the platform
// is another one and fetched where it is theirs.
//
//   npm install && node scripts/complete-lock.mjs

import { readFileSync, writeFileSync } from 'node:fs'
import { ROOT } from './setup.mjs'

const PATH = `${ROOT}package-lock.json`
const PLATFORMS = ['android', 'darwin', 'freebsd', 'linux', 'openharmony', 'win32']
const PROCESSORS = ['arm', 'arm64', 'ia32', 'ppc64', 's390x', 'x64', 'wasm32']
const LIBRARIES = { gnu: 'glibc', gnueabihf: 'glibc', musl: 'musl' }

const lock = JSON.parse(readFileSync(PATH, 'utf8'))
for (const [path, { optionalDependencies, dev }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies ?? {})) {
    if (lock.packages[`node_modules/${name}`] || lock.packages[`${path}/node_modules/${name}`]) continue
    lock.packages[`node_modules/${name}`] = entry(name, version, dev)
  }
}
const [root, ...packages] = Object.entries(lock.packages)
packages.sort(([a], [b]) => a.localeCompare(b, 'en'))
lock.packages = Object.fromEntries([root, ...packages])
writeFileSync(PATH, `${JSON.stringify(lock, null, 2)}\n`)

/** Platform, processor and C library are the last words of the name: `binding-linux-arm64-musl`. */
function entry(name, version, dev) {
  const words = name.split('/').at(-1).split('-')
  const os = words.find(word => PLATFORMS.includes(word))
  const cpu = words.find(word => PROCESSORS.includes(word))
  const libc = LIBRARIES[words.at(-1)]
  if (!cpu || !/^\d/.test(version))
    throw new Error(`${name}@${version}: no platform in its name, or no version`)
  return {
    version,
    cpu: [cpu],
    ...(dev && { dev }),
    ...(os === 'linux' && libc && { libc: [libc] }),
    optional: true,
    ...(os && { os: [os] }),
  }
}
