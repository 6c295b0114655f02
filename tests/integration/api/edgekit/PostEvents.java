import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

/**
 * Posts events as a Java program does that configures nothing: HttpClient prefers HTTP/2, so each
 * cleartext request asks for an upgrade to h2c.
 *
 * <p>Arguments: URL, token, number of events one after the other, number of events at once. Prints
 * one line per answer: name of the event's action, status, protocol, body.
 */
public final class PostEvents {
  private static HttpRequest post(String url, String token, String action, boolean expect) {
    // Long enough for several segments of loopback.
    String message = "m".repeat(action.hashCode() % 2 == 0 ? 10 : 20_000);
    String event =
        "{\"action\":\"" + action + "\",\"actor\":{\"id\":\"u\"},\"message\":\"" + message + "\"}";
    return HttpRequest.newBuilder(URI.create(url))
        .header("Authorization", "Bearer " + token)
        .header("Content-Type", "application/json")
        .expectContinue(expect)
        .POST(BodyPublishers.ofString(event))
        .build();
  }

  private static synchronized void print(String action, HttpResponse<String> answer) {
    System.out.println(
        action + "\t" + answer.statusCode() + "\t" + answer.version() + "\t" + answer.body());
  }

  public static void main(String[] arguments) throws Exception {
    String url = arguments[0];
    String token = arguments[1];
    int sequential = Integer.parseInt(arguments[2]);
    int parallel = Integer.parseInt(arguments[3]);
    HttpClient client = HttpClient.newHttpClient();
    for (int number = 0; number < sequential; number++) {
      String action = "java.sequential." + number;
      print(action, client.send(post(url, token, action, false), BodyHandlers.ofString()));
    }
    System.out.println("parallel");
    List<CompletableFuture<Void>> all = new ArrayList<>();
    for (int number : IntStream.range(0, parallel).toArray()) {
      String action = "java.parallel." + number;
      all.add(
          client
              .sendAsync(post(url, token, action, false), BodyHandlers.ofString())
              .thenAccept(answer -> print(action, answer)));
    }
    CompletableFuture.allOf(all.toArray(CompletableFuture[]::new)).join();
    String action = "java.expect.0";
    print(action, client.send(post(url, token, action, true), BodyHandlers.ofString()));
  }
}
