// When to leave a server alone that keeps crashing.

const LIMIT = 5;
const WITHIN_MS = 3 * 60_000;

export class Crashes {
  private times: number[] = [];

  /** One more; whether it was the fifth within three minutes. */
  tooMany(now: number): boolean {
    this.times = [...this.times, now].filter((time) => now - time < WITHIN_MS);
    return this.times.length >= LIMIT;
  }

  forget(): void {
    this.times = [];
  }
}
