// Which servers this extension can talk to.

export const OLDEST = "0.1.0";

export function older(version: string, than = OLDEST): boolean {
  const [a, b] = [version, than].map((text) => text.match(/\d+/g)?.map(Number) ?? []);
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) {
      return difference < 0;
    }
  }
  return false;
}
